# Fails if another hit has ever been in this interpreter.
if {[info exists visitor]} {
    error "$visitor was here before $name"
}
set visitor $name
return "only $visitor was here"
