package core

import (
	"testing"
	"time"
)

// A record is used again once it is over and no offer of it is left in the list;
// what it was is gone then.
func TestRecordIsUsedAgain(t *testing.T) {
	c := New(time.Now(), Config{})
	o := c.newOpen()
	o.state, o.notify = openOffered, true
	o.call.args = append(o.call.args, 1, 2, 3)
	c.repeatLater(o)
	c.repeatLater(o) // it has come back, and is on offer elsewhere
	o.state = openOver
	if c.unlist(); c.newOpen() == o {
		t.Fatal("it is used again, and still in the list")
	}
	c.unlist()
	again := c.newOpen()
	if again != o || again.state != openQueued || again.notify || again.listed != 0 || len(again.call.args) != 0 {
		t.Errorf("used again as %+v", again)
	}
	if cap(again.call.args) == 0 {
		t.Error("the memory of its argument is not")
	}
	again.state, again.call.args = openOver, make([]byte, argsKeep+1)
	c.repeatLater(again)
	next := c.newOpen()
	next.state = openOffered
	if c.repeatLater(next); len(c.offered) != 1 {
		t.Errorf("%d offers are to be repeated, want that of the next alone", len(c.offered))
	}
	if last := c.newOpen(); last != again || cap(last.call.args) > 0 {
		t.Errorf("a record keeps %d bytes for arguments, at most %d", cap(last.call.args), argsKeep)
	}
}

// Records that nobody uses are bounded.
func TestRecordsAreBounded(t *testing.T) {
	c := New(time.Now(), Config{})
	for range 2 * sparesMost {
		o := new(open)
		c.repeatLater(o)
		o.state = openOver
	}
	for len(c.offered) > 0 {
		c.unlist()
	}
	if len(c.spares) != sparesMost {
		t.Errorf("%d records are kept, want %d", len(c.spares), sparesMost)
	}
}

// Records that nobody uses keep little, however large the arguments were that came
// with them: they are not counted in Config.Carried any more.
func TestSpareRecordsAreSmall(t *testing.T) {
	c := New(time.Now(), Config{})
	for range sparesMost {
		o := c.newOpen()
		o.state, o.call.args = openOffered, make([]byte, 1<<16)
		c.repeatLater(o)
	}
	for _, o := range c.offered {
		o.state = openOver
	}
	for len(c.offered) > 0 {
		c.unlist()
	}
	kept := 0
	for _, o := range c.spares {
		kept += cap(o.call.args)
	}
	if kept > sparesMost*argsKeep {
		t.Errorf("%d records keep %d bytes for arguments, at most %d each", len(c.spares), kept, argsKeep)
	}
}
