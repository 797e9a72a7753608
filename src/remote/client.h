/* client - a conversation with the agent of one process: doc/protocol.md in C.
 *
 * Calls return 0 or a negative HOTPATCH_E* code with err filled. HOTPATCH_EGONE: the process, or its agent, has gone.
 * HOTPATCH_ETIMEDOUT: the agent has not answered within the connection's deadline for one request (for apply and
 * revert: theirs, and that much more). A connection belongs to one thread. After EGONE or ETIMEDOUT only close is left.
 */
#ifndef HP_REMOTE_CLIENT_H
#define HP_REMOTE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct hp_remote;
struct hp_kept_files;

struct hp_remote_hello {
	char version[64]; /* of the runtime */
	uint32_t pid;     /* as the process itself sees it */
	uint32_t machine; /* ELF e_machine */
	uint32_t page_size;
	bool is_static, by_attach, by_run;
	uint64_t started;  /* the agent, CLOCK_REALTIME, s */
	uint64_t tls_code; /* what descriptors of thread-local variables lead to; 0: nothing */
};

/* Finds the agent's socket of a process and says hello. HOTPATCH_ENOFILE: it has no agent; ESYSTEM: it has one that we
 * may not talk to, or that does not answer. */
int hp_remote_open(pid_t pid, unsigned timeout_ms, struct hp_remote **ret_remote, struct hp_err *err) HP_MUST_CHECK;
void hp_remote_close(struct hp_remote *remote); /* NULL is nothing; reservations that no patch took are gone */
pid_t hp_remote_pid(const struct hp_remote *remote);
/* Whether a request was not answered: what became of it is not known. */
bool hp_remote_is_broken(const struct hp_remote *remote);
/* From here on no answer is waited for once the descriptor can be read (-1: again as before). The request fails then
 * with HOTPATCH_EBUSY, and the connection is broken. */
void hp_remote_stop_at(struct hp_remote *remote, int fd);
const struct hp_remote_hello *hp_remote_hello(const struct hp_remote *remote);
/* What was read for requests of this connection, and is the same for the next (kept.h); it goes with the connection. */
struct hp_kept_files *hp_remote_kept(struct hp_remote *remote);

/* -- What is there ------------------------------------------------------------------------------------------------ */

struct hp_remote_segment {
	uint64_t low, high; /* [low, high) */
	uint32_t flags;     /* PF_R, PF_W, PF_X */
};

struct hp_remote_image {
	char *path; /* as the process sees it; open /proc/PID/root/PATH, or map_files when deleted */
	char *name;
	uint64_t bias, low, high;
	bool is_program, is_linked, is_vdso;
	uint64_t tls_module; /* 0: no thread-locals */
	int64_t tls_offset;  /* of its block from the thread pointer, in every thread; 0: not static, use the module */
	uint64_t tls_size;
	struct hp_remote_segment segments[12];
	size_t n_segments;
	uint8_t build_id[64];
	size_t build_id_size;
};

struct hp_remote_images {
	struct hp_remote_image *v; /* sorted by low */
	size_t n;
	uint64_t generation; /* for hp_remote_apply: refused when something was loaded or unloaded since */
};

int hp_remote_images(struct hp_remote *remote, struct hp_remote_images *ret_images, struct hp_err *err) HP_MUST_CHECK;
void hp_remote_images_free(struct hp_remote_images *images);

struct hp_remote_symbol {
	uint64_t image;     /* low of the image that refers or defines; 0: the global scope */
	bool defined_there; /* false: as a reference in the image binds; true: only what it defines itself */
	const char *name;
	const char *version; /* NULL or "": any */
	uint64_t address;    /* result; 0: not found */
};

int hp_remote_symbols(struct hp_remote *remote, struct hp_remote_symbol *symbols, size_t n,
                      struct hp_err *err) HP_MUST_CHECK;
int hp_remote_ifunc(struct hp_remote *remote, uint64_t resolver, uint64_t *ret_address,
                    struct hp_err *err) HP_MUST_CHECK;

struct hp_remote_range {
	uint64_t address;
	void *buffer;
	uint32_t size;
	uint32_t got; /* result: less than size where memory ends */
};

/* original: code as if no function were redirected (for hashes). */
int hp_remote_read(struct hp_remote *remote, bool original, struct hp_remote_range *ranges, size_t n,
                   struct hp_err *err) HP_MUST_CHECK;

/* -- Memory ------------------------------------------------------------------------------------------------------- */

struct hp_remote_region {
	uint64_t id, address, size;
};

/* Zero-filled, read-write; all of it within 2 GiB of [low, high], or anywhere (0, 0). */
int hp_remote_reserve(struct hp_remote *remote, uint64_t low, uint64_t high, uint64_t size,
                      struct hp_remote_region *ret_region, struct hp_err *err) HP_MUST_CHECK;
int hp_remote_write(struct hp_remote *remote, uint64_t region, uint64_t offset, const void *bytes, size_t n,
                    struct hp_err *err) HP_MUST_CHECK;

enum hp_remote_protection { HP_REMOTE_R = 1, HP_REMOTE_RW, HP_REMOTE_RX };

struct hp_remote_seal {
	uint64_t offset, size; /* whole pages */
	enum hp_remote_protection protection;
};

int hp_remote_seal(struct hp_remote *remote, uint64_t region, const struct hp_remote_seal *seals, size_t n,
                   struct hp_err *err) HP_MUST_CHECK;

struct hp_remote_name {
	uint64_t offset;
	uint32_t size;
	const char *name;
};

struct hp_remote_register {
	uint64_t region;
	uint64_t eh_frame, eh_frame_size; /* offset in the region; size 0: none; ends in a zero word */
	uint64_t symfile, symfile_size;   /* an ELF file for debuggers */
	const char *label;
	bool perf_map;
	const struct hp_remote_name *names;
	size_t n_names;
};

struct hp_remote_registered {
	bool unwinder, debugger, perf_map;
};

int hp_remote_register(struct hp_remote *remote, const struct hp_remote_register *request,
                       struct hp_remote_registered *ret_registered, struct hp_err *err) HP_MUST_CHECK;
int hp_remote_release(struct hp_remote *remote, uint64_t region, struct hp_err *err) HP_MUST_CHECK;

/* -- Patches ------------------------------------------------------------------------------------------------------ */

struct hp_remote_extent {
	uint64_t low, high; /* [low, high) */
};

struct hp_remote_change {
	uint64_t entry;
	const char *name;
	uint64_t code;
	struct hp_remote_extent extents[4]; /* of the new code; the first holds `code` */
	size_t n_extents;
	struct hp_remote_extent
		old[4]; /* of the function in the image; the first holds `entry`; 0: the agent finds out */
	size_t n_old;
};

enum { HP_REMOTE_MIGRATE = 4, HP_REMOTE_MIGRATE_BACK }; /* behind enum hotpatch_event */

struct hp_remote_callback {
	unsigned event;
	uint64_t address;
};

struct hp_remote_data {
	uint64_t address;
	const void *bytes;
	uint32_t size;
};

struct hp_remote_apply {
	const char *name;
	enum hotpatch_mode mode;
	bool dry_run;   /* every check, nothing done; code and extents may be 0 */
	bool is_ground; /* not to be reverted under later patches: they count on its types and layouts */
	bool aside;     /* what is replaced may be put back with hp_remote_switch */
	uint32_t timeout_ms, stall_ms;
	uint64_t generation; /* 0: whatever is loaded */
	const uint64_t *regions;
	size_t n_regions;
	const uint64_t *replaced; /* patch ids, reverted in the same instant */
	size_t n_replaced;
	const struct hp_remote_change *changes;
	size_t n_changes;
	const struct hp_remote_callback *callbacks;
	size_t n_callbacks;
	const struct hp_remote_data *data;
	size_t n_data;
	const uint64_t *uses; /* addresses in the memory of earlier patches that the new code refers to */
	size_t n_uses;
	const void *notes; /* kept by the agent with the patch, for hp_remote_notes: whatever the tool wants to know
	                      later */
	size_t notes_size; /* at most 1 MiB */
};

struct hp_remote_blocker {
	int tid;
	bool is_self;
	char name[32], function[256], reason[128];
	uint64_t frames[24]; /* innermost first: an instruction pointer, then return addresses */
	size_t n_frames;
};

/* What apply, revert and status have to say beyond the code; to be freed also after failure. */
struct hp_remote_result {
	uint64_t patch; /* id */
	uint64_t ns;    /* it took */
	bool live;      /* the change holds: also with HOTPATCH_EINPROGRESS */
	bool left;      /* status: nobody is in the old code any more */
	struct hp_remote_blocker *blockers;
	size_t n_blockers;
};

int hp_remote_apply(struct hp_remote *remote, const struct hp_remote_apply *request,
                    struct hp_remote_result *ret_result, struct hp_err *err) HP_MUST_CHECK;

struct hp_remote_revert {
	uint64_t patch; /* id; 0: by name */
	const char *name;
	enum hotpatch_mode mode;
	uint32_t timeout_ms, stall_ms;
};

int hp_remote_revert(struct hp_remote *remote, const struct hp_remote_revert *request,
                     struct hp_remote_result *ret_result, struct hp_err *err) HP_MUST_CHECK;
struct hp_remote_switch {
	uint64_t patch;      /* id of one that was set aside; 0: none */
	const uint64_t *out; /* ids of those that go, at the same instant */
	size_t n_out;
	bool aside; /* they may be put back */
	enum hotpatch_mode mode;
	uint32_t timeout_ms, stall_ms;
};

int hp_remote_switch(struct hp_remote *remote, const struct hp_remote_switch *request,
                     struct hp_remote_result *ret_result, struct hp_err *err) HP_MUST_CHECK;

/* One that was set aside will not be put back: its memory may go. */
int hp_remote_forget(struct hp_remote *remote, uint64_t patch, struct hp_err *err) HP_MUST_CHECK;

int hp_remote_status(struct hp_remote *remote, uint64_t patch, uint32_t timeout_ms, struct hp_remote_result *ret_result,
                     struct hp_err *err) HP_MUST_CHECK;
void hp_remote_result_free(struct hp_remote_result *result);

struct hp_remote_patch {
	uint64_t id;
	char *name;
	uint64_t since_s;
	uint32_t since_ns;
	bool live;  /* false: reverted, its memory is kept */
	bool aside; /* set aside: hp_remote_switch puts it back */
	uint32_t n_changes;
	char *reason, *place;     /* why it is kept: a sentence, "" not known yet; where the word lies, "" in none */
	uint64_t address, target; /* of that word, and what it points to; 0: none */
	struct hp_remote_region *regions;
	size_t n_regions;
};

struct hp_remote_patches {
	struct hp_remote_patch *v; /* in order of application */
	size_t n;
};

int hp_remote_patches(struct hp_remote *remote, struct hp_remote_patches *ret_patches,
                      struct hp_err *err) HP_MUST_CHECK;
int hp_remote_notes(struct hp_remote *remote, uint64_t patch, void **ret_notes, size_t *ret_size,
                    struct hp_err *err) HP_MUST_CHECK;
void hp_remote_patches_free(struct hp_remote_patches *patches);

/* What connections wait for, and the generation of the images (hp_remote_images), which changes when something comes.
 */
struct hp_remote_waits {
	uint64_t loads;
	struct hp_remote_wait {
		pid_t pid; /* whose connection it is; 0: not known */
		char *text;
	} * v;
	size_t n;
};

/* text: what this connection waits for from now on, at most 255 bytes, "" nothing; NULL: as before. */
int hp_remote_wait(struct hp_remote *remote, const char *text, struct hp_remote_waits *ret_waits,
                   struct hp_err *err) HP_MUST_CHECK;
void hp_remote_waits_free(struct hp_remote_waits *waits);

/* -- Crashes ------------------------------------------------------------------------------------------------------ */

struct hp_remote_crash {
	int tid;
	char name[32];
	int signo, code;  /* siginfo_t's, like the next */
	uint64_t address; /* that could not be used; 0 where the signal has none */
	char patch[256];  /* its innermost frame in code from outside is of this one */
	struct hp_remote_crash_frame {
		uint64_t address; /* innermost first: an instruction pointer, then return addresses */
		char patch[256];  /* whose code it is; "": the program's */
	} frames[24];
	size_t n_frames;
};

struct hp_remote_crashes {
	bool are_calls_held;       /* of the functions that the patch of one of them has changed */
	struct hp_remote_crash *v; /* in the order they came; they stay for as long as the process is there */
	size_t n;
};

/* Whether threads that crash in code of patches are to be kept, and calls of what the patch has changed held, until
 * another patch is in force, or the process is let die: for as long as the connection lasts. *ret_signals: 1 << number
 * for each that is caught from now on; the program may handle others itself. */
int hp_remote_hold(struct hp_remote *remote, bool hold, uint64_t *ret_signals, struct hp_err *err) HP_MUST_CHECK;
int hp_remote_crashes(struct hp_remote *remote, struct hp_remote_crashes *ret_crashes,
                      struct hp_err *err) HP_MUST_CHECK;
void hp_remote_crashes_free(struct hp_remote_crashes *crashes);

/* The process ends by the crash that came first. HOTPATCH_ESTATE: there is none. */
int hp_remote_let_die(struct hp_remote *remote, struct hp_err *err) HP_MUST_CHECK;

/* To wait for; -1: nothing will come. Readable: hp_remote_take_news says whether there was another crash. */
int hp_remote_fd(const struct hp_remote *remote);
bool hp_remote_take_news(struct hp_remote *remote);

struct hp_remote_layer {
	uint64_t entry, body, patch_id; /* 0: a set of the program's own, or none */
	char *function, *definition, *patch;
	uint64_t since_s;
	uint32_t since_ns, level;
	bool current;
};

struct hp_remote_layers {
	struct hp_remote_layer *v; /* by entry, then level */
	size_t n;
};

/* Everything in force, in-process changes too. */
int hp_remote_changes(struct hp_remote *remote, struct hp_remote_layers *ret_layers, struct hp_err *err) HP_MUST_CHECK;
void hp_remote_layers_free(struct hp_remote_layers *layers);

#endif
