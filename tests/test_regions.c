/* test_regions - memory in a process: bounds, what goes when a client does, and who is told of code in it. Seen to
 * fail: without hp_regions_release_all (vanish), with frames_are_whole always true (bad_tables), with hp_mapped_remove
 * left out (tell_others), with an agent that waits on for its turn (own_change_meanwhile: nobody is answered).
 */
#include "agent_client.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "remote/client.h"

static void memory_bounds(void **state)
{
	struct hp_remote_region region, other;
	uint8_t byte = 0;
	(void)state;
	assert_int_equal(hp_remote_reserve(remote, 0, 0, 0, &region, &err), HOTPATCH_EINVAL);
	assert_int_equal(hp_remote_reserve(remote, 0, 0, UINT64_MAX, &region, &err), HOTPATCH_EINVAL);
	assert_int_equal(hp_remote_reserve(remote, 5, 1, 1, &region, &err), HOTPATCH_EINVAL);
	assert_int_equal(hp_remote_reserve(remote, 1, UINT64_MAX, 1, &region, &err), HOTPATCH_ENOMEM);
	OK(hp_remote_reserve(remote, there(first), there(first), 5000, &region, &err));
	assert_true(region.address - there(first) + (UINT64_C(1) << 31) < UINT64_C(1) << 32);
	assert_int_equal(hp_remote_write(remote, region.id, region.size, &byte, 1, &err), HOTPATCH_EINVAL);
	assert_int_equal(hp_remote_write(remote, region.id, UINT64_MAX, &byte, 1, &err), HOTPATCH_EINVAL);
	assert_int_equal(hp_remote_write(remote, 999, 0, &byte, 1, &err), HOTPATCH_EINVAL);
	OK(hp_remote_write(remote, region.id, region.size - 1, &byte, 1, &err));
	struct hp_remote_seal seals[] = {{0, 4096, HP_REMOTE_RX}, {0, 4096, HP_REMOTE_R}};
	assert_int_equal(hp_remote_seal(remote, region.id, seals, 2, &err), HOTPATCH_EINVAL);
	seals[0].size = 100;
	assert_int_equal(hp_remote_seal(remote, region.id, seals, 1, &err), HOTPATCH_EINVAL);
	seals[0] = (struct hp_remote_seal){8192, 4096, HP_REMOTE_R};
	assert_int_equal(hp_remote_seal(remote, region.id, seals, 1, &err), HOTPATCH_EINVAL);
	OK(hp_remote_seal(remote, region.id, NULL, 0, &err));
	assert_int_equal(hp_remote_seal(remote, region.id, NULL, 0, &err), HOTPATCH_ESTATE);
	assert_int_equal(hp_remote_write(remote, region.id, 0, &byte, 1, &err), HOTPATCH_ESTATE);
	OK(hp_remote_release(remote, region.id, &err));
	assert_int_equal(hp_remote_release(remote, region.id, &err), HOTPATCH_EINVAL);
	for (int i = 0; i < 64; i++)
		OK(hp_remote_reserve(remote, 0, 0, 1, &other, &err));
	assert_int_equal(hp_remote_reserve(remote, 0, 0, 1, &other, &err), HOTPATCH_EINVAL);
}

static int mapped(uint64_t address)
{
	char path[64], line[512];
	unsigned long low, high;
	int found = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)target.pid);
	FILE *maps = fopen(path, "r");
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &low, &high) == 2 && address >= low && address < high)
			found = 1;
	fclose(maps);
	return found;
}

/* What a client had reserved, and nobody took, goes with it. */
static void vanish(void **state)
{
	(void)state;
	struct hp_remote_region region = make_code(1, 2);
	assert_true(mapped(region.address));
	hp_remote_close(remote);
	for (int i = 0; i < 1000 && mapped(region.address); i++)
		usleep(10000);
	assert_false(mapped(region.address));
	OK(hp_remote_open(target.pid, 0, &remote, &err));
}

/* An .eh_frame of one function of 16 bytes at `code`, lying at `at`: as an assembler writes it for a function that does
 * nothing to its stack, x86-64. Returns its size. */
static size_t make_frames(uint8_t *out, uint64_t at, uint64_t code)
{
	static const uint8_t cie[] = {20, 0,    0,  0, 0,    0,    0, 0, 1,    'z', 'R', 0,
	                              1,  0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1,   0,   0};
	uint8_t fde[] = {16, 0, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0};
	int32_t distance = (int32_t)(code - (at + sizeof(cie) + 8)); /* DW_EH_PE_pcrel | sdata4 */
	memcpy(fde + 8, &distance, 4);
	memcpy(out, cie, sizeof(cie));
	memcpy(out + sizeof(cie), fde, sizeof(fde));
	memset(out + sizeof(cie) + sizeof(fde), 0, 4);
	return sizeof(cie) + sizeof(fde) + 4;
}

static void tell_others(void **state)
{
	struct hp_remote_region region;
	struct hp_remote_registered told;
	struct hp_remote_images images;
	struct hp_remote_name name = {0, 16, "patched function"};
	uint8_t frames[128];
	char path[64], line[128] = "";
	unsigned long low, size;
	(void)state;
	OK(hp_remote_reserve(remote, there(first), there(first), 8192, &region, &err));
	size_t n = make_frames(frames, region.address + 4096, region.address);
	OK(hp_remote_write(remote, region.id, 4096, frames, n, &err));
	struct hp_remote_seal seals[] = {{0, 4096, HP_REMOTE_RX}, {4096, 4096, HP_REMOTE_R}};
	OK(hp_remote_seal(remote, region.id, seals, 2, &err));
	struct hp_remote_register request = {.region = region.id,
	                                     .eh_frame = 4096,
	                                     .eh_frame_size = n,
	                                     .symfile = 4096,
	                                     .symfile_size = n,
	                                     .label = "CVE-1.hp",
	                                     .perf_map = true,
	                                     .names = &name,
	                                     .n_names = 1};
	/* Left behind by another process of this number, long ago. Seen to fail: without forget_others. */
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)target.pid);
	FILE *stale = fopen(path, "w");
	assert_non_null(stale);
	fputs("1000 10 somebody_else\n", stale);
	fclose(stale);
	assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){{1, 0}, {1, 0}}, 0), 0);
	OK(hp_remote_register(remote, &request, &told, &err));
	assert_true(told.unwinder && told.debugger && told.perf_map);
	assert_int_equal(hp_remote_register(remote, &request, &told, &err), HOTPATCH_ESTATE);
	OK(hp_remote_images(remote, &images, &err));
	size_t linked = 0;
	for (size_t i = 0; i < images.n; i++)
		if (images.v[i].is_linked) {
			linked++;
			assert_string_equal(images.v[i].name, "CVE-1.hp");
			assert_int_equal(images.v[i].low, region.address);
		}
	hp_remote_images_free(&images);
	assert_int_equal(linked, 1);
	FILE *map = fopen(path, "r");
	assert_non_null(map);
	assert_non_null(fgets(line, sizeof(line), map));
	fclose(map);
	unlink(path);
	assert_int_equal(sscanf(line, "%lx %lx", &low, &size), 2);
	assert_true(low == region.address && size == 16 && strstr(line, "patched function"));
	OK(hp_remote_release(remote, region.id, &err));
	OK(hp_remote_images(remote, &images, &err));
	for (size_t i = 0; i < images.n; i++)
		assert_false(images.v[i].is_linked);
	hp_remote_images_free(&images);
	says("1 2 5 7");
}

/* libgcc reads tables without bounds: none that is not whole gets there. */
static void bad_tables(void **state)
{
	struct hp_remote_region region;
	struct hp_remote_registered told;
	uint8_t frames[128], bad[128];
	(void)state;
	size_t n = make_frames(frames, 4096, 0);
	for (size_t i = 0; i < 8; i++) {
		size_t length = n;
		memcpy(bad, frames, n);
		switch (i) {
		case 0:
			bad[0] = 200; /* a record beyond the end */
			break;
		case 1:
			bad[3] = 0xff;
			break;
		case 2:
			bad[n - 4] = 1; /* no terminator */
			break;
		case 3:
			length = n - 4;
			break;
		case 4:
			bad[24] = 15; /* records that do not meet */
			break;
		case 5:
			memset(bad, 0, n); /* nothing but terminators */
			break;
		case 6:
			bad[28] = 0xf0; /* a CIE that is nowhere */
			break;
		default:
			length = 8192;
		}
		OK(hp_remote_reserve(remote, there(first), there(first), 8192, &region, &err));
		OK(hp_remote_write(remote, region.id, 4096, bad, n, &err));
		struct hp_remote_seal seals[] = {{0, 4096, HP_REMOTE_RX}, {4096, 4096, HP_REMOTE_R}};
		OK(hp_remote_seal(remote, region.id, seals, 2, &err));
		struct hp_remote_register request = {.region = region.id,
		                                     .eh_frame = 4096,
		                                     .eh_frame_size = length,
		                                     .label = "bad"};
		assert_int_equal(hp_remote_register(remote, &request, &told, &err), HOTPATCH_EINVAL);
		OK(hp_remote_release(remote, region.id, &err));
	}
	says("1 2 5 7");
}

/* stop: see hp_remote_stop_at. */
static int apply_first(int stop)
{
	struct hp_remote_region region = make_code(8, 9);
	struct hp_remote_change change = {.entry = there(first),
	                                  .name = "first",
	                                  .code = region.address,
	                                  .extents = {{region.address, region.address + 6}},
	                                  .n_extents = 1};
	struct hp_remote_result result;
	hp_remote_stop_at(remote, stop);
	int error = hp_remote_apply(remote,
	                            &(struct hp_remote_apply){.name = "W",
	                                                      .regions = &region.id,
	                                                      .n_regions = 1,
	                                                      .changes = &change,
	                                                      .n_changes = 1,
	                                                      .timeout_ms = 120000},
	                            &result, &err);
	hp_remote_result_free(&result);
	return error;
}

/* Waits for the program's own change, and goes away: then the agent has time for others, and changes nothing. */
static void own_change_meanwhile(void **state)
{
	struct hp_remote_patches patches;
	struct hp_remote_result result;
	int now[2];
	(void)state;
	target_ask(&target, "stick");
	target_ask(&target, "occupy");
	struct hp_remote_revert nothing = {.name = "nothing", .mode = HOTPATCH_TRY};
	while (hp_remote_revert(remote, &nothing, &result, &err) == HOTPATCH_ESTATE) /* it has not begun yet */
		hp_remote_result_free(&result);
	hp_remote_result_free(&result);
	assert_int_equal(err.code, HOTPATCH_EBUSY);
	assert_non_null(strstr(err.text, "is applying another patch"));
	assert_int_equal(pipe(now), 0);
	assert_int_equal(write(now[1], "", 1), 1);
	assert_int_equal(apply_first(now[0]), HOTPATCH_EBUSY);
	assert_non_null(strstr(err.text, "until a signal came"));
	hp_remote_close(remote);
	OK(hp_remote_open(target.pid, 20000, &remote, &err));
	OK(hp_remote_patches(remote, &patches, &err));
	assert_int_equal(patches.n, 0);
	hp_remote_patches_free(&patches);
	says("1 2 5 7");
	target_ask(&target, "loosen");
	close(now[0]);
	close(now[1]);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "target") == 0)
		return be_target();
	const struct CMUnitTest tests[] = {
		TEST(memory_bounds), TEST(vanish), TEST(own_change_meanwhile), TEST(tell_others), TEST(bad_tables),
	};
	signal(SIGPIPE, SIG_IGN);
	make_runtime_folder();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	remove_runtime_folder();
	return failed;
}
