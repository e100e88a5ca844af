//go:build !limpet_pure_zmq

// Memory of large frames, which libzmq sends from and receives into without a copy.

#ifndef LIMPET_BLOCK_H
#define LIMPET_BLOCK_H

#include "shim.h"

typedef struct limpet_block limpet_block;

typedef struct {
	uint64_t count; // blocks that somebody holds: a program, or libzmq until it has sent them
	uint64_t bytes; // their memory
	uint64_t kept;  // bytes of memory that waits to be used again
} limpet_blocks;

// limpet_block_new makes a block with room for size bytes and one reference; NULL
// where all blocks together would exceed limit, or there is no memory.
limpet_block *limpet_block_new(uint32_t size, uint64_t limit);

// limpet_block_take makes the part that waits at p a block with one reference, and
// the part waits no longer; NULL as above.
limpet_block *limpet_block_take(limpet_port *p, uint64_t limit);

// limpet_block_memory is the memory of a block, which lives as long as the block.
unsigned char *limpet_block_memory(limpet_block *b);

// limpet_block_release gives one reference up.
void limpet_block_release(limpet_block *b);

// limpet_block_send is limpet_send for the first size bytes of a block. libzmq holds
// a reference until it has sent them.
int limpet_block_send(limpet_port *p, unsigned char *identity, uint32_t identity_size, int delimiter, limpet_block *b, uint32_t size);

// limpet_blocks_now counts the blocks of this process.
limpet_blocks limpet_blocks_now(void);

#endif
