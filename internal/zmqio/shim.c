//go:build !limpet_pure_zmq

#include "shim.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

// TRIES bounds how often the rest of a message that has begun is offered.
enum { TRIES = 1000 };

limpet_port *limpet_open(void *socket, int router)
{
	limpet_port *p = calloc(1, sizeof *p);
	if (p == NULL)
		return NULL;
	p->socket = socket;
	p->router = router;
	zmq_msg_init(&p->message);
	return p;
}

void limpet_close(limpet_port *p)
{
	zmq_msg_close(&p->message);
	free(p);
}

// origin tells which connection the part in message came from. On libzmq 4.3.4 an
// identity does not know, the part behind it does.
static int32_t origin(limpet_port *p)
{
	const char *fd;
	if (!p->origins || p->position != 1)
		return 0;
	fd = zmq_msg_gets(&p->message, "__fd");
	return fd == NULL ? 0 : (int32_t)atoi(fd);
}

// next receives one part into message.
static int next(limpet_port *p)
{
	int n;
	do
		n = zmq_msg_recv(&p->message, p->socket, ZMQ_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno;
	p->waiting.size = (uint32_t)zmq_msg_size(&p->message);
	p->waiting.more = zmq_msg_more(&p->message);
	p->waiting.origin = origin(p);
	p->position = p->waiting.more ? p->position + 1 : !p->router;
	return 0;
}

// keep copies the part in message to memory.
static void keep(limpet_port *p, unsigned char *memory, uint32_t offset)
{
	limpet_part *part = &p->parts[p->count++];
	*part = p->waiting;
	part->offset = offset;
	memcpy(memory + offset, zmq_msg_data(&p->message), part->size);
	p->holding = 0;
	if (part->size > LIMPET_LARGE) {
		zmq_msg_close(&p->message); // the next receive may be far away
		zmq_msg_init(&p->message);
	}
}

void limpet_receive(limpet_port *p, unsigned char *own, unsigned char *arena, uint32_t room)
{
	uint32_t used = 0;
	p->count = 0;
	p->error = 0;
	if (p->holding && own != NULL) {
		keep(p, own, 0);
	}
	while (p->count < LIMPET_PARTS) {
		if (!p->holding) {
			p->error = next(p);
			if (p->error != 0)
				return;
			p->holding = 1;
		}
		if (p->waiting.size > LIMPET_LARGE || p->waiting.size > room - used)
			return;
		keep(p, arena, used);
		used += p->parts[p->count - 1].size;
	}
}

// part sends one part, and tries again where a signal interrupted it.
static int part(limpet_port *p, unsigned char *data, uint32_t size)
{
	int n;
	do
		n = zmq_send(p->socket, data, size, ZMQ_DONTWAIT | ZMQ_SNDMORE);
	while (n < 0 && errno == EINTR);
	return n < 0 ? errno : 0;
}

int limpet_begin(limpet_port *p, unsigned char *identity, uint32_t identity_size, int delimiter)
{
	int tries, error;
	if (!p->router)
		return 0;
	error = part(p, identity, identity_size);
	if (error != 0 || !delimiter)
		return error;
	for (tries = 0; tries < TRIES; tries++) {
		error = part(p, identity, 0);
		if (error != EAGAIN)
			break;
		sched_yield();
	}
	return -error;
}

int limpet_end(limpet_port *p, zmq_msg_t *body)
{
	int tries, n, error = 0;
	for (tries = 0; tries < TRIES; tries++) {
		do
			n = zmq_msg_send(body, p->socket, ZMQ_DONTWAIT);
		while (n < 0 && errno == EINTR);
		if (n >= 0)
			return 0;
		error = errno;
		if (!p->router)
			return error;
		if (error != EAGAIN)
			break;
		sched_yield();
	}
	return -error;
}

int limpet_send(limpet_port *p, unsigned char *identity, uint32_t identity_size, int delimiter, unsigned char *body, uint32_t size)
{
	zmq_msg_t message;
	int error;
	// Before the identity goes: a message that has begun must be ended.
	if (zmq_msg_init_size(&message, size) != 0)
		return errno;
	memcpy(zmq_msg_data(&message), body, size);
	error = limpet_begin(p, identity, identity_size, delimiter);
	if (error == 0)
		error = limpet_end(p, &message);
	if (error != 0)
		zmq_msg_close(&message);
	return error;
}

int limpet_readable(limpet_port *p)
{
	int events = 0, n;
	size_t size = sizeof events;
	do
		n = zmq_getsockopt(p->socket, ZMQ_EVENTS, &events, &size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : (events & ZMQ_POLLIN) != 0;
}
