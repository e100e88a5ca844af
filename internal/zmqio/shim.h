//go:build !limpet_pure_zmq

// What package zmqio asks of libzmq for every message: doc.go says why it is C.

#ifndef LIMPET_SHIM_H
#define LIMPET_SHIM_H

#include <stdint.h>
#include <zmq.h>

enum {
	LIMPET_PARTS = 64,  // received in one crossing at most
	LIMPET_LARGE = 8192 // a larger part gets memory of its own
};

typedef struct {
	uint32_t offset; // in the memory that it was copied to
	uint32_t size;
	int32_t origin; // descriptor of its connection where that was asked for, or 0
	int32_t more;   // further parts of the same message follow
} limpet_part;

// limpet_port is one socket's side of the shim. One thread at a time uses it.
typedef struct {
	void *socket;
	int router;
	int origins;  // ask the first part behind an identity where it came from
	int position; // of the next part in its message

	zmq_msg_t message;  // the part received last
	int holding;        // it had no room and waits in message
	limpet_part waiting; // what it is

	int error; // what ended the last receive, EAGAIN where nothing is left; 0 where there may be more
	int count;
	limpet_part parts[LIMPET_PARTS];
} limpet_port;

limpet_port *limpet_open(void *socket, int router);
void limpet_close(limpet_port *p);

// limpet_receive copies the part that waits, if one does, into own or, where own
// is NULL, into the arena, and then what else has come into the arena, until
// nothing is left, the next part has no room, or parts is full.
void limpet_receive(limpet_port *p, unsigned char *own, unsigned char *arena, uint32_t room);

// limpet_send hands one message over whole or not at all. It returns 0, the errno
// by which libzmq refused the message, or the negative one of a failure in its
// middle.
int limpet_send(limpet_port *p, unsigned char *identity, uint32_t identity_size, int delimiter, unsigned char *body, uint32_t size);

// limpet_begin sends what precedes a body, limpet_end the body. Once a ROUTER has
// taken the first part of a message, both are stubborn.
int limpet_begin(limpet_port *p, unsigned char *identity, uint32_t identity_size, int delimiter);
int limpet_end(limpet_port *p, zmq_msg_t *body);

// limpet_readable looks at ZMQ_EVENTS: 1, 0, or -1 where the look failed.
int limpet_readable(limpet_port *p);

#endif
