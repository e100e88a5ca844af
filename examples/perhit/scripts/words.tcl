# String work on text: how many words, the longest one, the text backwards.
set longest ""
foreach word [split $text] {
    if {[string length $word] > [string length $longest]} {
        set longest $word
    }
}
return "[llength [split $text]] words, longest $longest, backwards [string reverse $text]"
