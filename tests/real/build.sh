#!/bin/bash
# build.sh FOLDER PACKAGE HOW [FLAG...] - a Debian package's programs in FOLDER/PACKAGE-HOW, by its own debian/rules.
#
# The FLAGs are added to CFLAGS as dpkg-buildflags(1) has users do it, and nothing else is. bear(1) writes down what is
# compiled, in compile_commands.json there. FOLDER/PACKAGE has the sources (fetch.sh). Does nothing where it is built.
set -eu
folder=$(cd "$1" && pwd) package=$2 how=$3
shift 3
tree=$folder/$package-$how log=$folder/$package-$how.log

[[ -e $tree/built ]] && exit 0
rm -rf "$tree"
cp -r "$folder/$package" "$tree"
cd "$tree"
processors=$(nproc)
export DEB_CFLAGS_APPEND="$*" DEB_BUILD_OPTIONS="nocheck parallel=$processors" DEB_RULES_REQUIRES_ROOT=no
if ! bear --output compile_commands.json -- debian/rules build >"$log" 2>&1; then
	tail -20 "$log" >&2
	echo "build.sh: '$package' could not be built; all of its output is in '$log'" >&2
	exit 1
fi
touch built
