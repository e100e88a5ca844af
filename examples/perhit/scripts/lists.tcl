# A list of n numbers that follow from seed: its length, least, greatest and sum.
set numbers {}
for {set i 0} {$i < $n} {incr i} {
    set seed [expr {($seed * 1103515245 + 12345) % 2147483648}]
    lappend numbers $seed
}
set sorted [lsort -integer $numbers]
list [llength $sorted] [lindex $sorted 0] [lindex $sorted end] [tcl::mathop::+ {*}$numbers]
