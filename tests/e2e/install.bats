#!/usr/bin/env bats
# install.bats - what a machine is set up with: qctl init, the client's configuration, completions,
# man pages, systemd units. QFLEET_BIN names the folder of the programs.

setup_file() {
    export PATH="${QFLEET_BIN:?}:$PATH"
    export WORK="$BATS_FILE_TMPDIR"
    unset QFLEET_COORDINATOR
    export QFLEET_CONFIG=
}

# A port that is free now, and the one after it.
free_port() {
    python3 - <<'PYTHON'
import random, socket
while True:
    port = random.randrange(10000, 32000) # below those that the system gives out
    try:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", port))
            b.bind(("127.0.0.1", port + 1))
        print(port)
        break
    except OSError:
        pass
PYTHON
}

wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until timeout 5 "$@" > "$WORK/wait.log" 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { cat "$WORK/wait.log"; return 1; }
        sleep 0.1
    done
}

# meet FOLDER NAME [FLAG ...]: $coordinator, with those flags, and $worker of that name, by what init wrote there
meet() {
    . "$1/coordinator.env"
    qfleet-coordinator --data "$1/data" $QFLEET_OPTIONS "${@:3}" > "$1/coordinator.log" 2>&1 3>&- &
    coordinator=$!
    export QFLEET_CONFIG="$1/client.yml"
    wait_for 60 qctl jobs
    . "$1/worker.env"
    qfleet-worker --name "$2" --threads 1 $QFLEET_OPTIONS > "$1/worker.log" 2>&1 3>&- &
    worker=$!
    wait_for 60 sh -c "qctl workers --no-header | grep -q $2"
}

@test "init makes keys and configuration that coordinator, worker and client start with" {
    port=$(free_port)
    qctl init "$WORK/fleet" --host localhost --listen 127.0.0.1 --port "$port"
    for secret in coordinator admin submit worker view; do
        [ "$(stat -c %a "$WORK/fleet/$secret.key")" = 600 ]
    done
    [ "$(grep -vc '^#' "$WORK/fleet/keys.list")" = 4 ]
    meet "$WORK/fleet" node07
    run qctl doctor
    [ "$status" -eq 0 ]
    [[ "$output" == *"tcp://localhost:$port welcomes this client: $(qctl --version | sed s/qctl/qfleet/)"* ]]
    chmod 644 "$WORK/fleet/admin.key"
    run qctl doctor
    [ "$status" -eq 1 ]
    [[ "$output" == *"FAIL  key"*"admin.key: mode 644 is too open"*"chmod 600"* ]]
    chmod 600 "$WORK/fleet/admin.key"
    # A worker that nobody answers says so.
    qctl keys create "$WORK/stranger.key" > /dev/null
    qfleet-worker --coordinator "tcp://localhost:$port" --secret "$WORK/stranger.key" --threads 1 \
        --server-key "$WORK/fleet/coordinator.key.pub" > "$WORK/s.log" 2>&1 3>&- &
    stranger=$!
    # A key without the role may look and not act; no key at all does not get in.
    sed 's/admin.key/view.key/' "$WORK/fleet/client.yml" > "$WORK/fleet/view.yml"
    QFLEET_CONFIG="$WORK/fleet/view.yml" qctl workers
    run env QFLEET_CONFIG="$WORK/fleet/view.yml" qctl workers drain node07
    [ "$status" -eq 1 ]
    run env QFLEET_CONFIG= qctl jobs --coordinator "tcp://localhost:$port" --timeout 1s
    [ "$status" -ne 0 ]
    # Workers of the coordinator's own get in with the key that was made for them.
    qctl workers scale 1 --timeout 60s
    wait_for 60 sh -c "qctl workers | grep -q '^local-1 *ready'"
    qctl workers scale 0 --timeout 60s
    wait_for 60 sh -c "qctl workers | grep -q '^local-1 *left'"
    wait_for 60 grep -q "no answer from tcp://localhost:$port for 10 s" "$WORK/s.log"
    kill "$worker" "$coordinator" "$stranger"
    wait "$worker" "$coordinator" "$stranger"
}

@test "init takes an IPv6 address, and everybody meets there" {
    grep -qs " lo$" /proc/net/if_inet6 || skip "no IPv6 here"
    port=$(free_port)
    qctl init "$WORK/six" --host ::1 --port "$port" > "$WORK/six.log"
    grep -q "tcp://\[::1\]:$port" "$WORK/six.log"
    grep -q -- "--control tcp://\[::\]:$port " "$WORK/six/coordinator.env"
    meet "$WORK/six" node06 --http "[::1]:0"
    qctl doctor
    kill "$worker" "$coordinator"
    wait "$worker" "$coordinator"
    [ "$(qctl init "$WORK/six2" --host "[::1]" --listen 127.0.0.1 -o json | grep -c 'tcp://\[::1\]:7070')" = 1 ]
    for host in head:7070 "[::1]:7070" ::1:7070x "[::g]" "" -x "a b" "tcp://head"; do
        run qctl init "$WORK/refused" "--host=$host"
        [ "$status" -eq 2 ]
        [[ "$output" == *"--host: expected a name or an address without a port"* ]]
        [ ! -e "$WORK/refused" ]
    done
}

@test "doctor finds what would get in the way, and says so to programs too" {
    qctl doctor -o json > "$WORK/doctor.json"
    python3 - "$WORK/doctor.json" <<'PYTHON'
import json, sys
rows = json.load(open(sys.argv[1]))
assert {"versions", "processor", "blas", "memory", "limits", "disk", "clock", "ports", "program", "socket",
        "coordinator"} <= {row["check"] for row in rows}, rows
assert not [row for row in rows if row["verdict"] == "FAIL"], rows
PYTHON
    # The address space must hold the program itself.
    run bash -c 'ulimit -v 8000000; qctl doctor'
    [ "$status" -eq 1 ]
    [[ "$output" == *"FAIL  limits"*"ulimit -v unlimited"* ]]
    [[ "$output" == *"would get in the way"* ]]
    run bash -c 'ulimit -n 200; qctl doctor'
    [[ "$output" == *"note  limits"*"200 open files"* ]]
    run qctl doctor --coordinator tcp://127.0.0.1:9 --timeout 1s
    [ "$status" -eq 1 ]
    [[ "$output" == *"FAIL  coordinator"* ]]
    run env TMPDIR="$WORK/nowhere" qctl doctor
    [ "$status" -eq 1 ]
    [[ "$output" == *"FAIL  temporary"*"nowhere"* ]]
    mkdir "$WORK/"$'odd\xff\e[31m'
    TMPDIR="$WORK/"$'odd\xff\e[31m' qctl doctor -o json | grep -q "odd??.31m"
}

@test "init overwrites no key and leaves nothing half-done" {
    mkdir "$WORK/used"
    echo mine > "$WORK/used/view.key"
    run qctl init "$WORK/used"
    [ "$status" -eq 1 ]
    [[ "$output" == *"used/view.key: exists, and keys are never overwritten"* ]]
    [ "$(ls "$WORK/used")" = view.key ]
    run qctl init "$WORK/a b"
    [ "$status" -eq 2 ]
    [ ! -e "$WORK/a b" ]
    run qctl init "$WORK/c" --host 'a;b'
    [ "$status" -eq 2 ]
    [ ! -e "$WORK/c" ]
    run qctl init "$WORK/\`id\`" # the options are read by a shell
    [ "$status" -eq 2 ]
    run qctl init "$WORK/"$'\xff' # YAML is UTF-8
    [ "$status" -eq 2 ]
    [ ! -e "$WORK/"$'\xff' ]
    mkdir "$WORK/linked"
    ln -s nowhere "$WORK/linked/submit.key"
    run qctl init "$WORK/linked"
    [ "$status" -eq 1 ]
    [ "$(ls "$WORK/linked")" = submit.key ]
}

@test "no file gets the number of a stream that was closed" {
    qfleet-coordinator --data "$WORK/closed" --http off <&- >&- 2>&- 3>&- &
    coordinator=$!
    export QFLEET_COORDINATOR="ipc://$WORK/closed/control.sock"
    wait_for 60 qctl jobs
    qfleet-worker --coordinator "$QFLEET_COORDINATOR" --threads 1 <&- >&- 2>&- 3>&- &
    worker=$!
    wait_for 60 sh -c "qctl workers --no-header | grep -q ready"
    for process in "$coordinator" "$worker"; do
        for stream in 0 1 2; do
            [ "$(readlink "/proc/$process/fd/$stream")" = /dev/null ]
        done
    done
    kill "$worker" "$coordinator"
    wait "$worker" "$coordinator"
    run bash -c 'qctl jobs --coordinator "$0" >&-' "$QFLEET_COORDINATOR"
    [ "$status" -ne 0 ]
    run bash -c 'qctl help >&-'
    [ "$status" -eq 1 ]
    [[ "$output" == *"qctl: stdout: "* ]]
}

@test "a configuration of another coordinator lends no keys" {
    printf 'coordinator: tcp://elsewhere:7070\nsecret: nowhere.key\n' > "$WORK/other.yml"
    run env QFLEET_CONFIG="$WORK/other.yml" qctl jobs --coordinator tcp://127.0.0.1:9 --timeout 1s
    [[ "$output" != *nowhere.key* ]]
    run env QFLEET_CONFIG="$WORK/other.yml" qctl jobs --timeout 1s
    [ "$status" -eq 2 ]
    [[ "$output" == *"expected both --secret and --server-key"* ]]
    printf 'cordinator: x\n' > "$WORK/other.yml"
    run env QFLEET_CONFIG="$WORK/other.yml" qctl jobs
    [ "$status" -eq 3 ]
    [[ "$output" == *"other.yml:1:1: cordinator: unknown key; did you mean coordinator?"* ]]
}

# Every verb that help lists, one a line.
verbs() {
    qctl help | sed -n '/^verbs$/,/^$/p' | sed -n 's/^  \([a-z]*\( [a-z]*\)\{0,1\}\)  .*/\1/p'
}

# What bash offers after the given words; the last one is being typed.
in_bash() {
    bash -c 'source "$WORK/qctl.bash"
        COMP_WORDS=(qctl "$@"); COMP_CWORD=$#; previous=${COMP_WORDS[COMP_CWORD - 1]}
        _qctl qctl "${COMP_WORDS[COMP_CWORD]}" "$previous"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}

@test "bash completes verbs, options and values" {
    qctl completion bash > "$WORK/qctl.bash"
    bash -n "$WORK/qctl.bash"
    [ "$(verbs | wc -l)" -gt 30 ]
    verbs | while read -r first second; do
        in_bash "$first" | grep -qx -- "$first"
        [ -z "$second" ] || in_bash "$first" "" | grep -qx -- "$second"
        in_bash $first $second --ti | grep -qx -- --timeout
    done
    [ "$(in_bash wor)" = workers ]
    [ "$(in_bash workers dr)" = drain ]
    [ "$(in_bash workers drain --rea)" = --reason ]
    [ "$(in_bash run --wor)" = --workers ]
    [ "$(in_bash run --workers "")" = "" ]
    [ "$(in_bash jobs --color n)" = never ]
    [ "$(in_bash keys create x --role v)" = view ]
    [ "$(cd "$WORK" && touch recipe.yml && in_bash run rec)" = recipe.yml ]
    [ "$(in_bash jobs -o ta)" = table ]
    [ "$(in_bash jobs --output "" | xargs)" = "table json jsonl name" ]
    [ "$(in_bash graph last -o "" | xargs)" = "table json jsonl dot mermaid" ]
    [ "$(in_bash show -o "" | xargs)" = "table json" ]
    [ "$(in_bash top -o "")" = table ]
    run qctl top -o json
    [ "$status" -eq 2 ]
}

@test "bash runs nothing that a worker or a job is called" {
    qctl completion bash > "$WORK/qctl.bash"
    mkdir "$WORK/stub"
    cat > "$WORK/stub/qctl" <<'STUB'
#!/bin/sh
printf '%s  ready\n' '$(touch${IFS}$WORK/ran)' '`touch${IFS}$WORK/ran`' node07 'a;b' '*' '~root' "it's"
STUB
    chmod +x "$WORK/stub/qctl"
    [ "$(cd "$WORK" && PATH="$WORK/stub:$PATH" in_bash workers drain "" | tr '\n' ' ')" = "all node07 " ]
    [ ! -e "$WORK/ran" ]
}

@test "fish completes verbs, options and values" {
    command -v fish > /dev/null || skip "no fish here"
    qctl completion fish > "$WORK/qctl.fish"
    fish -n "$WORK/qctl.fish"
    in_fish() {
        HOME="$WORK" fish --no-config -c "source $WORK/qctl.fish; complete -C '$1'" | cut -f 1
    }
    [ "$(in_fish 'qctl wor')" = workers ]
    [ "$(in_fish 'qctl workers dr')" = drain ]
    [ "$(in_fish 'qctl workers drain --rea')" = --reason ]
    [ "$(in_fish 'qctl run --wor')" = --workers ]
    [ "$(in_fish 'qctl jobs --color ne')" = never ]
    [ "$(in_fish 'qctl graph --output m')" = mermaid ]
    [ "$(in_fish 'qctl show --output ' | sort | xargs)" = "json table" ]
    in_fish 'qctl ckpt ' | grep -qx verify
    [ "$(in_fish 'qctl jobs --wor')" = "" ]
}

@test "zsh completes verbs, options and values" {
    command -v zsh > /dev/null || skip "no zsh here"
    mkdir -p "$WORK/zfunc"
    qctl completion zsh > "$WORK/zfunc/_qctl"
    zsh -n "$WORK/zfunc/_qctl"
    # A terminal that types and presses tab, twice so that lists are shown.
    cat > "$WORK/zsh.py" <<'PYTHON'
import os, pty, re, select, sys, time

pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", HOME=sys.argv[1], ZDOTDIR=sys.argv[1], COLUMNS="300")
    os.execvp("zsh", ["zsh", "-f", "-i"])


def read(pattern, seconds=20):
    text, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            text += os.read(fd, 65536).decode(errors="replace")
            if re.search(pattern, text):
                return text
    sys.exit("expected %r, found %r" % (pattern, text))


def tab(typed, expected):
    os.write(fd, (typed + "\t").encode())
    read(expected)
    os.write(fd, b"\x15")  # kills the line


os.write(fd, b"PS1=; fpath=(%s/zfunc $fpath); autoload -U compinit; compinit -u -D; echo is-'ready'\n"
         % sys.argv[1].encode())
read("is-ready")
tab("qctl wor", r"qctl wor\S*kers ")
tab("qctl workers dr", r"workers dr\S*ain ")
tab("qctl workers drain --rea", r"--rea\S*son")
tab("qctl run --worke", r"--worke\S*rs")
tab("qctl jobs --color ne", r"ne\S*ver")
tab("qctl graph --output mer", r"mer\S*maid")
os.write(fd, b"exit\n")
PYTHON
    python3 "$WORK/zsh.py" "$WORK"
}

@test "man pages say every verb, key and flag, and groff has nothing to say" {
    command -v man > /dev/null || skip "no man here"
    quiet() {
        [ "$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -l -Tutf8 "$1" 2>&1 > /dev/null)" = "" ]
    }
    qctl help --man > "$WORK/qctl.1"
    qctl help recipe --man > "$WORK/qfleet-recipe.5"
    qctl help providers --man > "$WORK/qfleet-providers.5"
    quiet "$WORK/qfleet-providers.5"
    grep -q workers_per_allocation "$WORK/qfleet-providers.5"
    quiet "$WORK/qctl.1"
    quiet "$WORK/qfleet-recipe.5"
    LC_ALL=C.UTF-8 MANWIDTH=200 man -l "$WORK/qctl.1" | col -bx > "$WORK/qctl.txt"
    verbs | while read -r verb; do grep -q "^ *qctl $verb\b" "$WORK/qctl.txt"; done
    LC_ALL=C.UTF-8 MANWIDTH=200 man -l "$WORK/qfleet-recipe.5" | col -bx > "$WORK/recipe.txt"
    qctl help recipe | sed 1d | while read -r key _; do grep -q "^ *$key\b" "$WORK/recipe.txt"; done
    for program in qfleet-coordinator qfleet-worker; do
        "$program" --help | ops/package/usage-man name="$program" version=1 title=t text=T - \
            > "$WORK/$program.1"
        quiet "$WORK/$program.1"
        LC_ALL=C.UTF-8 MANWIDTH=200 man -l "$WORK/$program.1" | col -bx > "$WORK/$program.txt"
        "$program" --help | grep -o '^  --[a-z-]*' | while read -r flag; do
            grep -q -- "^ *$flag\b" "$WORK/$program.txt"
        done
    done
}

@test "systemd accepts the units, and they are hardened" {
    command -v systemd-analyze > /dev/null || skip "no systemd-analyze here"
    for unit in ops/systemd/*.service; do
        # Programs and manuals are not installed here; nothing else may be said.
        run systemd-analyze verify --man=no "$unit"
        [ "$(printf '%s\n' "$output" | grep "$(basename "$unit")" | grep -v 'is not executable: No such file')" = "" ]
        systemd-analyze security --offline=true --threshold=25 "$unit" > /dev/null
    done
}
