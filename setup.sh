#!/usr/bin/env bash
# Makes .venv with everything that demo, test, lint and bench need; quick when nothing changed.
# As root on Debian it installs missing system packages; elsewhere `tapehouse doctor` names them.
# The page needs Node and npm; where they are missing or fail all else is made, and the page says so.
set -euo pipefail
cd "$(dirname "$0")"

QUESTDB=org.questdb:questdb:9.3.4
JAR=.venv/share/tapehouse/questdb-9.3.4.jar

python() { # the first Python from 3.11 to 3.13
    for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

java17() { "${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | grep -qE 'version "(1[7-9]|[2-9][0-9])'; }

missing=()
python >/dev/null || missing+=(python3 python3-venv)
java17 || missing+=(openjdk-17-jre-headless)
[ -f "$JAR" ] || command -v mvn >/dev/null || missing+=(maven)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing ${missing[*]}"
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "setup: missing: ${missing[*]} (the names of Debian's packages); install them and run this again" >&2
        exit 1
    fi
fi

stamp=.venv/.made
first=
made=$(cat constraints.txt pyproject.toml setup.sh | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$made" ]; then
    echo "setup: making .venv"
    first=yes
    [ -x .venv/bin/python ] || "$(python)" -m venv .venv
    .venv/bin/python -m pip install --quiet --require-hashes --requirement constraints.txt
    .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
    # Else the first start would: it takes some seconds.
    .venv/bin/python -c "from ingest.barmaker.maker import compile_all; compile_all()"
    printf '%s' "$made" >"$stamp"
fi
if [ ! -f "$JAR" ]; then
    echo "setup: fetching QuestDB"
    mkdir -p "$(dirname "$JAR")"
    mvn -q -B -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
        -Dartifact="$QUESTDB" -DoutputDirectory="$PWD/$(dirname "$JAR")"
fi

node20() { # Node 20.19, or 22.12 and newer, with npm
    command -v npm >/dev/null && node -e '
        const [major, minor] = process.versions.node.split(".").map(Number);
        process.exit((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22 ? 0 : 1);
    ' 2>/dev/null
}

debian_has_node20() {
    [ "$(apt-cache policy nodejs 2>/dev/null | sed -n 's/ *Candidate: \([0-9]*\).*/\1/p')" -ge 20 ] 2>/dev/null
}

page() { # what was made before is not made again
    cd gateway/web
    local installed=node_modules/.installed built=node_modules/.built lock all
    lock=$(cat package.json package-lock.json | cksum)
    all=$(find src public package.json package-lock.json index.html vite.config.ts -type f | LC_ALL=C sort | xargs cat | cksum)
    if [ "$(cat "$installed" 2>/dev/null)" != "$lock" ]; then
        echo "setup: installing what the page is made of"
        npm ci --loglevel error >/dev/null && printf '%s' "$lock" >"$installed" || return
    fi
    if [ ! -f dist/index.html ] || [ "$(cat "$built" 2>/dev/null)" != "$all" ]; then
        echo "setup: building the page"
        npm run --silent build -- --logLevel warn && printf '%s' "$all" >"$built" || return
    fi
}

timescale() { # the database that the tests of TimescaleDB start
    cd tests/timescale
    local installed=node_modules/.installed lock
    lock=$(cat package.json package-lock.json | cksum)
    if [ "$(cat "$installed" 2>/dev/null)" != "$lock" ]; then
        echo "setup: installing TimescaleDB for the tests"
        npm ci --loglevel error >/dev/null && printf '%s' "$lock" >"$installed"
    fi
}

# Looked for once: it takes seconds, and an old Debian has none that is new enough.
if [ -n "$first" ] && ! node20 && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get -qq update || true
    if debian_has_node20; then
        echo "setup: installing nodejs npm"
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends nodejs npm >/dev/null || true
    fi
fi
if ! node20; then
    echo "setup: the page was not built: expected Node 20.19 or 22.12 or newer, with npm; all else is made" >&2
else
    (page) || echo "setup: the page was not built: npm failed; all else is made" >&2
    (timescale) || echo "setup: the tests of TimescaleDB will be skipped: npm failed; all else is made" >&2
fi
