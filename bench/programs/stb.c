/* stb.c - the single-file libraries of Debian's libstb-dev, compiled as they are: code that knows nothing of hotpatch.
 */
#define STB_TRUETYPE_IMPLEMENTATION
#define STB_SPRINTF_IMPLEMENTATION
#include "stb/stb_sprintf.h"
#include "stb/stb_truetype.h"
#include "stb/stb_vorbis.h"
