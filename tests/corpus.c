/* corpus - a fuzz target (tests/fuzz/NAME.c) run over what is in its corpus, without a fuzzer: `make test` has every
 * input that was ever found to do harm, whatever the compiler, and `make check-asan` too.
 *
 * Seen to fail: tests/fuzz/run says how.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Memory of just that size, so that what reads behind it is seen. */
static int run(const char *path)
{
	FILE *file = fopen(path, "rbe");

	if (!file || fseek(file, 0, SEEK_END) != 0) {
		perror(path);
		return 1;
	}
	size_t size = (size_t)ftell(file);
	uint8_t *bytes = malloc(size ? size : 1);
	rewind(file);
	int failed = !bytes || fread(bytes, 1, size, file) != size;
	fclose(file);
	printf("%s%s\n", path, failed ? ": cannot be read" : "");
	fflush(stdout); /* the last one printed is the one that ended us */
	if (!failed)
		LLVMFuzzerTestOneInput(bytes, size);
	free(bytes);
	return failed;
}

int main(int argc, char **argv)
{
	DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
	const struct dirent *entry;
	int failed = 0, n = 0;

	if (!folder) {
		fprintf(stderr, "usage: corpus FOLDER\n");
		return 1;
	}
	while ((entry = readdir(folder))) {
		char path[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
		failed |= run(path);
		n++;
	}
	closedir(folder);
	printf("%d inputs\n", n);
	return n ? failed : 1;
}
