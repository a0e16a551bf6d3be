#!/bin/sh
# Install or upgrade the event monitor from the folder that this script is in, and (re)start it.
#
#   sh install.sh
#
# Needs root, systemd, Python 3.13, and the environment of the service in /etc/ngu/monitor.env.
# The folder is what `make package` has made: wheels/ and requirements.txt; no index is asked. If
# anything fails, what runs goes on running.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
home=/opt/ngu

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "run it as root"
[ -r /etc/ngu/monitor.env ] || fail "/etc/ngu/monitor.env is missing: it names service and stage"
[ -d "$here/wheels" ] || fail "$here/wheels is missing: \`make package\` makes it"
command -v python3.13 >/dev/null || fail "python3.13 is missing: dnf install -y python3.13"

if ! id ngu-monitor >/dev/null 2>&1; then
    useradd --system --user-group --no-create-home --home-dir / --shell /sbin/nologin ngu-monitor
fi

mkdir -p "$home"
rm -rf "$home/venv.new"
python3.13 -m venv "$home/venv.new"
pip() {
    "$home/venv.new/bin/python" -m pip --quiet --disable-pip-version-check --no-input "$@"
}
pip install --no-index --find-links "$here/wheels" --require-hashes -r "$here/requirements.txt"
pip install --no-index --no-deps "$here"/wheels/ngu_points-*.whl
"$home/venv.new/bin/python" -m ngu_points monitor --help >/dev/null

if [ "$here" != "$home/package" ]; then
    rm -rf "$home/package"
    cp -R "$here" "$home/package"
fi
rm -rf "$home/venv.old"
[ ! -e "$home/venv" ] || mv "$home/venv" "$home/venv.old"
mv "$home/venv.new" "$home/venv"
chmod -R go+rX,go-w "$home/package" "$home/venv"
install -m 0644 "$home/package/ngu-monitor.service" /etc/systemd/system/ngu-monitor.service
systemctl daemon-reload
systemctl enable ngu-monitor.service
systemctl restart ngu-monitor.service
