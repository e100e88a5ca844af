/*
 * Echo over libzmq in C: what ZeroMQ itself can do here, without Limpet and without Go.
 *
 *   echo worker                      a ROUTER; one thread receives and echoes
 *   echo threads SESSIONS            a ROUTER; each session has a thread of its own that echoes
 *   echo broker                      a ROUTER for clients and one for the worker
 *   echo relayed ENDPOINT            a worker behind that broker; one thread
 *   echo client ENDPOINT CALLERS SIZE WARMUP_NS WINDOW_NS
 *                                    a DEALER; one thread makes the calls of all callers
 *
 * A server writes "ready ENDPOINT..." once it serves. The client writes "begin" where its
 * window begins, and at its end one line: "end CALLS NANOSECONDS", then "BUCKET:COUNT" for each
 * bucket of the histogram, cut as histogram.go cuts it. The end of stdin ends every process.
 *
 * A body begins with the caller's number and the call's, 8 bytes each, in the machine's order.
 * A caller has one call at a time. Any failure ends the process with a line on stderr.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum {
	SUB_BITS = 7, /* as in histogram.go */
	SUB_COUNT = 1 << SUB_BITS,
	BUCKETS = SUB_COUNT * 41,
	MIN_BODY = 16,
	BATCH = 256,              /* requests taken before replies are sent */
	STACK_BYTES = 64 * 1024,  /* of a session's thread */
};

static void *ctx;

static void die(const char *what) {
	fprintf(stderr, "echo: %s: %s\n", what, zmq_strerror(errno));
	exit(1);
}

static void refuse(const char *what) {
	fprintf(stderr, "echo: %s\n", what);
	exit(1);
}

/* await_end ends the process with its stdin. */
static void *await_end(void *unused) {
	char c;
	(void)unused;
	while (read(0, &c, 1) > 0) {
	}
	_exit(0);
}

static void start_thread(void *(*f)(void *), void *arg) {
	pthread_t t;
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_BYTES);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	if ((errno = pthread_create(&t, &small, f, arg)) != 0)
		die("start a thread");
}

static void *new_socket(int type) {
	int none = 0;
	void *s = zmq_socket(ctx, type);
	if (s == NULL || zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof none) != 0 || zmq_setsockopt(s, ZMQ_SNDHWM, &none, sizeof none) != 0 ||
	    zmq_setsockopt(s, ZMQ_RCVHWM, &none, sizeof none) != 0)
		die("make a socket");
	return s;
}

static void *bound(int type, char *endpoint, size_t size) {
	void *s = new_socket(type);
	if (zmq_bind(s, "tcp://127.0.0.1:*") != 0 || zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0)
		die("bind");
	return s;
}

static void *connected(int type, const char *endpoint) {
	void *s = new_socket(type);
	if (zmq_connect(s, endpoint) != 0)
		die(endpoint);
	return s;
}

/* receive takes one part; it returns 0 where there is none and flags say not to wait. */
static int receive(void *s, zmq_msg_t *part, int flags) {
	while (zmq_msg_recv(part, s, flags) < 0) {
		if (errno == EAGAIN)
			return 0;
		if (errno != EINTR)
			die("receive");
	}
	return 1;
}

static void send_part(void *s, zmq_msg_t *part, int flags) {
	while (zmq_msg_send(part, s, flags) < 0)
		if (errno != EINTR)
			die("send");
}

static void say_ready(const char *endpoint, const char *other) {
	printf("ready %s%s%s\n", endpoint, *other ? " " : "", other);
	fflush(stdout);
}

/* echo_parts returns every message as it is, whatever its parts. */
static void echo_parts(void *s) {
	zmq_msg_t part;
	zmq_msg_init(&part);
	for (;;) {
		receive(s, &part, 0);
		send_part(s, &part, zmq_msg_more(&part) ? ZMQ_SNDMORE : 0);
	}
}

static void worker(void) {
	char at[64];
	void *s = bound(ZMQ_ROUTER, at, sizeof at);
	say_ready(at, "");
	echo_parts(s);
}

static void relayed(const char *endpoint) {
	void *s = connected(ZMQ_DEALER, endpoint);
	if (zmq_send(s, "", 0, 0) < 0) /* the broker learns who it is */
		die("greet the broker");
	say_ready("", "");
	echo_parts(s);
}

/* forward moves what has come in from one socket to the other, a batch at most. The first
 * part says to whom: towards the worker it is added, towards the client the worker's is taken off. */
static void forward(void *from, void *to, zmq_msg_t *worker_id) {
	zmq_msg_t part, first;
	zmq_msg_init(&part);
	zmq_msg_init(&first);
	for (int i = 0; i < BATCH && receive(from, &part, ZMQ_DONTWAIT); i++) {
		if (worker_id != NULL) {
			zmq_msg_copy(&first, worker_id);
			send_part(to, &first, ZMQ_SNDMORE);
		} else {
			receive(from, &part, 0);
		}
		for (int more = 1; more;) {
			more = zmq_msg_more(&part);
			send_part(to, &part, more ? ZMQ_SNDMORE : 0);
			if (more)
				receive(from, &part, 0);
		}
	}
}

static void broker(void) {
	char clients_at[64], workers_at[64];
	void *clients = bound(ZMQ_ROUTER, clients_at, sizeof clients_at);
	void *workers = bound(ZMQ_ROUTER, workers_at, sizeof workers_at);
	zmq_msg_t worker_id, greeting;
	say_ready(clients_at, workers_at);
	zmq_msg_init(&worker_id);
	zmq_msg_init(&greeting);
	receive(workers, &worker_id, 0);
	receive(workers, &greeting, 0);
	zmq_pollitem_t items[] = {{clients, 0, ZMQ_POLLIN, 0}, {workers, 0, ZMQ_POLLIN, 0}};
	for (;;) {
		if (zmq_poll(items, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if (items[0].revents)
			forward(clients, workers, &worker_id);
		if (items[1].revents)
			forward(workers, clients, NULL);
	}
}

/* A session's thread. The router thread fills the message and posts called; the session echoes
 * and pushes itself on the stack of the done. Each side owns the message in its turn. */
struct thread_session {
	sem_t called;
	zmq_msg_t id, body;
	struct thread_session *next_done;
	atomic_int busy;
};

static _Atomic(struct thread_session *) done;
static atomic_int router_asleep;
static int router_waker;

static void *serve_session(void *arg) {
	struct thread_session *s = arg;
	for (;;) {
		while (sem_wait(&s->called) != 0)
			if (errno != EINTR)
				die("wait for a call");
		s->next_done = atomic_load(&done);
		while (!atomic_compare_exchange_weak(&done, &s->next_done, s)) {
		}
		if (atomic_exchange(&router_asleep, 0) && eventfd_write(router_waker, 1) != 0)
			die("wake the router");
	}
	return NULL;
}

/* take_calls hands a batch of requests to their sessions. */
static int take_calls(void *router, struct thread_session *sessions, uint64_t n) {
	zmq_msg_t id;
	int taken = 0;
	zmq_msg_init(&id);
	while (taken < BATCH && receive(router, &id, ZMQ_DONTWAIT)) {
		zmq_msg_t body;
		uint64_t number = n;
		zmq_msg_init(&body);
		receive(router, &body, 0);
		if (zmq_msg_size(&body) >= MIN_BODY)
			memcpy(&number, zmq_msg_data(&body), sizeof number);
		if (number >= n || atomic_exchange(&sessions[number].busy, 1))
			refuse("a body of no session, or a second call of one");
		zmq_msg_move(&sessions[number].id, &id);
		zmq_msg_move(&sessions[number].body, &body);
		sem_post(&sessions[number].called);
		taken++;
	}
	return taken;
}

static int send_replies(void *router) {
	struct thread_session *s = atomic_exchange(&done, NULL);
	int sent = 0;
	while (s != NULL) {
		struct thread_session *next = s->next_done;
		atomic_store(&s->busy, 0);
		send_part(router, &s->id, ZMQ_SNDMORE);
		send_part(router, &s->body, 0);
		s = next;
		sent++;
	}
	return sent;
}

static void threads(uint64_t n) {
	char at[64];
	eventfd_t woken;
	void *router = bound(ZMQ_ROUTER, at, sizeof at);
	struct thread_session *sessions = calloc(n, sizeof *sessions);
	if (sessions == NULL || (router_waker = eventfd(0, EFD_NONBLOCK)) < 0)
		die("make the sessions");
	for (uint64_t i = 0; i < n; i++) {
		sem_init(&sessions[i].called, 0, 0);
		zmq_msg_init(&sessions[i].id);
		zmq_msg_init(&sessions[i].body);
		start_thread(serve_session, &sessions[i]);
	}
	say_ready(at, "");
	zmq_pollitem_t items[] = {{router, 0, ZMQ_POLLIN, 0}, {NULL, router_waker, ZMQ_POLLIN, 0}};
	for (;;) {
		if (take_calls(router, sessions, n) + send_replies(router) > 0)
			continue;
		atomic_store(&router_asleep, 1); /* announced first, looked for work second: none is missed */
		if (atomic_load(&done) == NULL && zmq_poll(items, 2, -1) < 0 && errno != EINTR)
			die("poll");
		atomic_store(&router_asleep, 0);
		(void)eventfd_read(router_waker, &woken); /* nothing to read is fine */
	}
}

static uint64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int bucket_of(uint64_t ns) {
	if (ns < SUB_COUNT)
		return (int)ns;
	int shift = 63 - __builtin_clzll(ns) - SUB_BITS;
	int bucket = (shift + 1) * SUB_COUNT + (int)(ns >> shift) - SUB_COUNT;
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t buckets[BUCKETS];

static void say_end(uint64_t calls, uint64_t elapsed) {
	printf("end %" PRIu64 " %" PRIu64, calls, elapsed);
	for (int i = 0; i < BUCKETS; i++)
		if (buckets[i] > 0)
			printf(" %d:%" PRIu64, i, buckets[i]);
	printf("\n");
	fflush(stdout);
}

/* call sends a caller's body with the call's number in it. */
static void call(void *s, char *body, size_t size, uint64_t number) {
	memcpy(body + 8, &number, sizeof number);
	while (zmq_send(s, body, size, 0) < 0)
		if (errno != EINTR)
			die("send");
}

static void client(const char *endpoint, uint64_t callers, size_t size, uint64_t warmup, uint64_t window) {
	void *s = connected(ZMQ_DEALER, endpoint);
	char *bodies = malloc(callers * size);
	uint64_t *began = calloc(callers, sizeof *began), *number = calloc(callers, sizeof *number);
	uint64_t calls = 0, recording = 0, start = now_ns(), now = start;
	zmq_msg_t reply;
	if (bodies == NULL || began == NULL || number == NULL || size < MIN_BODY || callers == 0)
		refuse("no memory, no callers, or a body that is too small");
	for (uint64_t i = 0; i < callers; i++) {
		for (size_t j = 0; j < size; j++)
			bodies[i * size + j] = (char)j;
		memcpy(bodies + i * size, &i, sizeof i);
		began[i] = now_ns();
		call(s, bodies + i * size, size, 0);
	}
	zmq_msg_init(&reply);
	while (!recording || calls == 0 || now - recording < window) {
		uint64_t i = callers;
		receive(s, &reply, 0);
		if (zmq_msg_size(&reply) == size)
			memcpy(&i, zmq_msg_data(&reply), sizeof i);
		if (i >= callers || memcmp(zmq_msg_data(&reply), bodies + i * size, size) != 0)
			refuse("a wrong reply");
		now = now_ns();
		if (recording) {
			buckets[bucket_of(now - began[i])]++;
			calls++;
		} else if (now - start >= warmup) {
			recording = now;
			printf("begin\n");
			fflush(stdout);
		}
		began[i] = now;
		call(s, bodies + i * size, size, ++number[i]);
	}
	say_end(calls, now - recording);
	for (;;)
		pause();
}

int main(int argc, char **argv) {
	const char *role = argc > 1 ? argv[1] : "";
	ctx = zmq_ctx_new();
	if (ctx == NULL)
		die("make a context");
	start_thread(await_end, NULL);
	if (strcmp(role, "worker") == 0)
		worker();
	else if (strcmp(role, "threads") == 0 && argc == 3)
		threads(strtoull(argv[2], NULL, 10));
	else if (strcmp(role, "broker") == 0)
		broker();
	else if (strcmp(role, "relayed") == 0 && argc == 3)
		relayed(argv[2]);
	else if (strcmp(role, "client") == 0 && argc == 7)
		client(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10));
	refuse("started with wrong arguments; limpet-bench starts it");
}
