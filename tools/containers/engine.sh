#!/bin/sh
# A container engine for the tests: uses the one that runs, else installs and starts Debian's (root, Debian or Ubuntu).
# Compose comes from the running engine's plugins, else from a newer Debian suite, unpacked in .cache/containers.
#   tools/containers/engine.sh
set -eu
cd "$(dirname "$0")/../.."
cache=$PWD/.cache/containers
mkdir -p "$cache"

say() { echo "engine.sh: $*" >&2; }
apt() { apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

if ! docker info >/dev/null 2>&1; then
  command -v apt-get >/dev/null || { say "no engine runs here, and this is no Debian to install one on"; exit 1; }
  [ "$(id -u)" = 0 ] || { say "no engine runs here, and only root can install one"; exit 1; }
  if ! command -v dockerd >/dev/null; then
    say "installing docker.io"
    apt update
    DEBIAN_FRONTEND=noninteractive apt install -y --no-install-recommends docker.io >"$cache/apt.log" 2>&1 ||
      { tail -20 "$cache/apt.log" >&2; exit 1; }
  fi
  say "starting dockerd; its log is $cache/dockerd.log"
  setsid nohup dockerd --host=unix:///var/run/docker.sock >"$cache/dockerd.log" 2>&1 </dev/null &
  echo $! >"$cache/dockerd.pid"
  tries=0
  until docker info >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || { say "dockerd does not answer"; tail -20 "$cache/dockerd.log" >&2; exit 1; }
    sleep 1
  done
fi

if ! docker compose version >/dev/null 2>&1 && [ ! -x "$cache/cli-plugins/docker-compose" ]; then
  # Debian's stable release after this one has the plugin; it is a program of its own, so nothing is installed.
  command -v dpkg-deb >/dev/null || { say "no docker compose, and this is no Debian to take it from"; exit 1; }
  site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' | grep -v security | head -1)
  say "unpacking docker compose of trixie"
  lists=$cache/apt
  mkdir -p "$lists/lists/partial" "$lists/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main" >"$lists/sources.list"
  options="-o Dir::Etc::sourcelist=$lists/sources.list -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists=$lists/lists -o Dir::Cache=$lists -o Dir::Cache::archives=$lists/archives"
  # shellcheck disable=SC2086
  (cd "$lists" && apt $options update && apt $options download docker-compose && dpkg-deb -x docker-compose_*.deb root)
  mkdir -p "$cache/cli-plugins"
  cp "$(find "$lists/root" -type f -path '*/cli-plugins/docker-compose')" "$cache/cli-plugins/docker-compose"
  rm -rf "$lists"
fi
