package session

import "io"

// Lots draws what must be unguessable, or meet no other, into memory of its own:
// what is read through an io.Reader would otherwise be an allocation each.
type Lots struct {
	chance io.Reader
	room   [16]byte
}

// NewLots draws from chance.
func NewLots(chance io.Reader) Lots { return Lots{chance: chance} }

// ID draws a random UUID: a session's public name, or a request's.
func (l *Lots) ID() (ID, error) {
	if err := l.draw(); err != nil {
		return ID{}, err
	}
	id := ID(l.room)
	id[6] = id[6]&0x0f | 0x40 // version 4
	id[8] = id[8]&0x3f | 0x80 // of RFC 4122
	return id, nil
}

// Key draws a session's key.
func (l *Lots) Key() (Key, error) {
	err := l.draw()
	return l.room, err
}

func (l *Lots) draw() error {
	_, err := io.ReadFull(l.chance, l.room[:])
	return err
}
