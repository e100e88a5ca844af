package sim

// fleeting is memory that envelopes are looked at in, one after the other, as a
// loop's is: a core that keeps a part of one sees it spoilt.
type fleeting []byte

func (f *fleeting) take(env []byte) []byte {
	*f = append((*f)[:0], env...)
	return *f
}

func (f *fleeting) spoil() {
	for i := range *f {
		(*f)[i] = 0xee
	}
}
