#!/usr/bin/env bash
# Builds the programs twice, for the tests of upgrades: as they are here into bin/upgrade/new, and as they were one version ago into
# bin/upgrade/old. OLD is the commit of that: by default the newest tag before this commit; before the first one the commit before
# the one that brought the newest migration.
set -euo pipefail
cd "$(dirname "$0")/.."

old=${OLD:-$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null || true)}
if [ -z "$old" ]; then
	newest=$(printf '%s\n' migrations/*.sql | sort -V | tail -n 1)
	change=$(git log --diff-filter=A -1 --format=%H -- "$newest")
	old=$(git rev-parse --verify "$change^") || { echo "build-upgrade: the history before the newest migration is not here: fetch it, or give OLD=COMMIT" >&2; exit 1; }
fi
old=$(git rev-parse --verify "$old^{commit}")

build() { # source, directory of programs, version
	mkdir -p "$2"
	local flags="-s -w -X devflowbackup/shared/version.Version=$3"
	(cd "$1/agent" && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$2/" ./cmd/devflow-agent)
	(cd "$1/controller" && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$2/" ./cmd/devflow-controller ./cmd/devflowctl)
}

source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
git archive "$old" agent controller shared migrations | tar -x -C "$source"
echo "old: $(git log -1 --format='%h %s' "$old")"
build "$source" "$PWD/bin/upgrade/old" v0.1.0
build "$PWD" "$PWD/bin/upgrade/new" v0.2.0
