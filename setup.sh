#!/usr/bin/env bash
# Makes .venv with everything that demo, test, lint and bench need; quick when nothing changed.
# As root on Debian it installs missing system packages; elsewhere `tapehouse doctor` names them.
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
made=$(cat constraints.txt pyproject.toml setup.sh | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$made" ]; then
    echo "setup: making .venv"
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
