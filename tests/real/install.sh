#!/bin/bash
# Installs or builds the real servers that are missing, and says of each what it did: see report.py.
# clickhouse-backup and mariadb-operator are the user's own: on PATH, or in $CLICKHOUSE_BACKUP_BIN and
# $MARIADB_OPERATOR_BIN (several, colon-separated).
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kube_version=1.33.4
cache=${XDG_CACHE_HOME:-$HOME/.cache}/chbackup-real
policy=/usr/sbin/policy-rc.d
PATH=$PATH:/usr/sbin

# Debian's scripts start no service while policy-rc.d says 101.
apt_install() {
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$1"
}

package() { # program or jar, Debian package
  if command -v "$1" >/dev/null || [ -e "/usr/share/java/$1.jar" ]; then
    echo "$1: found"
  elif [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "$1: absent (needs the Debian package $2)"
  elif apt_install "$2" >&2; then
    echo "$1: installed"
  else
    echo "$1: absent (apt-get could not install $2)"
  fi
}

# In a virtual environment of its own: it asks for older versions of what the project uses.
moto() {
  local venv=$cache/moto
  if "$venv/bin/python" -c 'import flask, moto' 2>/dev/null; then
    echo "moto: found"
  elif python3 -m venv --clear "$venv" && "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt" >&2; then
    echo "moto: installed"
  else
    echo "moto: absent (pip could not install it)"
  fi
}

kube_apiserver() {
  local binary=$cache/kube-apiserver-$kube_version stamp=k8s.io/component-base/version
  if [ -x "$binary" ]; then
    echo "kube-apiserver: found"
  elif ! command -v go >/dev/null; then
    echo "kube-apiserver: absent (needs Go 1.24 or newer to build it)"
  elif mkdir -p "$cache" && (cd "$here/kube-apiserver" && go build -trimpath -o "$binary.part" \
    -ldflags "-X $stamp.gitVersion=v$kube_version -X $stamp.gitMajor=1 -X $stamp.gitMinor=33" \
    k8s.io/kubernetes/cmd/kube-apiserver) >&2; then
    mv "$binary.part" "$binary"
    echo "kube-apiserver: built"
  else
    echo "kube-apiserver: absent (go build failed)"
  fi
}

own() { # program, variable that names it
  if [ -n "${!2:-}" ] || command -v "$1" >/dev/null; then
    echo "$1: found"
  else
    echo "$1: absent (put it on PATH or name it in \$$2)"
  fi
}

package clickhouse-server clickhouse-server
package zookeeper zookeeper
package etcd etcd-server
package mariadbd mariadb-server
moto
kube_apiserver
own clickhouse-backup CLICKHOUSE_BACKUP_BIN
own mariadb-operator MARIADB_OPERATOR_BIN
