//go:build !limpet_pure_zmq

#include "block.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

// Memory is made in multiples of UNIT and kept for blocks of the same size, up to
// KEPT bytes of it.
enum {
	UNIT = 64 << 10,
	SIZES = 160,
	KEPT = 16 << 20
};

struct limpet_block {
	uint32_t references;
	uint32_t units; // of memory behind this struct; 0: the memory belongs to message
	uint64_t bytes;
	zmq_msg_t message; // that was received
	limpet_block *next; // kept
};

static uint64_t count, bytes;

static struct {
	pthread_mutex_t lock;
	uint64_t bytes;
	limpet_block *first[SIZES + 1];
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

// claim counts a block in, unless that exceeds limit.
static int claim(uint64_t size, uint64_t limit)
{
	if (__atomic_add_fetch(&bytes, size, __ATOMIC_RELAXED) > limit) {
		__atomic_sub_fetch(&bytes, size, __ATOMIC_RELAXED);
		return 0;
	}
	__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
	return 1;
}

static void disclaim(uint64_t size)
{
	__atomic_sub_fetch(&bytes, size, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&count, 1, __ATOMIC_RELAXED);
}

static limpet_block *reuse(uint32_t units)
{
	limpet_block *b;
	pthread_mutex_lock(&pool.lock);
	b = pool.first[units];
	if (b != NULL) {
		pool.first[units] = b->next;
		pool.bytes -= b->bytes;
	}
	pthread_mutex_unlock(&pool.lock);
	return b;
}

static void put_back(limpet_block *b)
{
	pthread_mutex_lock(&pool.lock);
	if (pool.bytes + b->bytes <= KEPT) {
		b->next = pool.first[b->units];
		pool.first[b->units] = b;
		pool.bytes += b->bytes;
		b = NULL;
	}
	pthread_mutex_unlock(&pool.lock);
	free(b);
}

limpet_block *limpet_block_new(uint32_t size, uint64_t limit)
{
	uint32_t units = (size + UNIT - 1) / UNIT;
	limpet_block *b;
	if (units > SIZES || !claim((uint64_t)units * UNIT, limit))
		return NULL;
	b = reuse(units);
	if (b == NULL)
		b = malloc(sizeof *b + (size_t)units * UNIT);
	if (b == NULL) {
		disclaim((uint64_t)units * UNIT);
		return NULL;
	}
	b->references = 1;
	b->units = units;
	b->bytes = (uint64_t)units * UNIT;
	return b;
}

limpet_block *limpet_block_take(limpet_port *p, uint64_t limit)
{
	uint32_t size = p->waiting.size;
	limpet_block *b;
	if (!claim(size, limit))
		return NULL;
	b = malloc(sizeof *b);
	if (b == NULL) {
		disclaim(size);
		return NULL;
	}
	b->references = 1;
	b->units = 0;
	b->bytes = size;
	zmq_msg_init(&b->message);
	zmq_msg_move(&b->message, &p->message);
	p->holding = 0;
	return b;
}

unsigned char *limpet_block_memory(limpet_block *b)
{
	return b->units == 0 ? zmq_msg_data(&b->message) : (unsigned char *)(b + 1);
}

void limpet_block_release(limpet_block *b)
{
	if (__atomic_sub_fetch(&b->references, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	disclaim(b->bytes);
	if (b->units != 0) {
		put_back(b);
		return;
	}
	zmq_msg_close(&b->message);
	free(b);
}

// sent is called by libzmq, on its I/O thread, when it needs the memory no longer.
static void sent(void *memory, void *block)
{
	(void)memory;
	limpet_block_release(block);
}

int limpet_block_send(limpet_port *p, unsigned char *identity, uint32_t identity_size, int delimiter, limpet_block *b, uint32_t size)
{
	zmq_msg_t body;
	int error;
	__atomic_add_fetch(&b->references, 1, __ATOMIC_RELAXED);
	// Before the identity goes: a message that has begun must be ended.
	if (zmq_msg_init_data(&body, limpet_block_memory(b), size, sent, b) != 0) {
		limpet_block_release(b);
		return ENOMEM;
	}
	error = limpet_begin(p, identity, identity_size, delimiter);
	if (error == 0)
		error = limpet_end(p, &body);
	if (error != 0)
		zmq_msg_close(&body); // gives the reference up
	return error;
}

limpet_blocks limpet_blocks_now(void)
{
	limpet_blocks now;
	now.count = __atomic_load_n(&count, __ATOMIC_RELAXED);
	now.bytes = __atomic_load_n(&bytes, __ATOMIC_RELAXED);
	pthread_mutex_lock(&pool.lock);
	now.kept = pool.bytes;
	pthread_mutex_unlock(&pool.lock);
	return now;
}
