#!/bin/sh
# Install EchoApex into an environment of its own: install.sh PREFIX [EXTRAS]. Run it from the top of the source tree.
# PYTHON names another interpreter. PIP_OPTIONS are further options of pip, for example to install from a folder of wheels:
#   PIP_OPTIONS="--no-index --find-links wheels" sh deploy/install.sh /opt/echoapex dicom
set -eu
prefix=${1:?"usage: install.sh PREFIX [EXTRAS]"}
extras=${2:-}
"${PYTHON:-python3}" -m venv "$prefix"
# shellcheck disable=SC2086 # PIP_OPTIONS is a list of words
"$prefix/bin/python" -m pip install --no-cache-dir --disable-pip-version-check ${PIP_OPTIONS:-} \
    -c constraints.txt ".${extras:+[$extras]}"
# the root file system is read-only later: compile now
"$prefix/bin/python" -m compileall -q "$prefix/lib" >/dev/null || echo "some files could not be compiled; they still run" >&2
test -x "$prefix/bin/echoapex"
