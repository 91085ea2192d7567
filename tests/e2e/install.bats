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
    port = random.randrange(20000, 60000)
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
    local left=$((10 * $1))
    shift
    until "$@" > "$WORK/wait.log" 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || { cat "$WORK/wait.log"; return 1; }
        sleep 0.1
    done
}

@test "init makes keys and configuration that coordinator, worker and client start with" {
    port=$(free_port)
    qctl init "$WORK/fleet" --host localhost --listen 127.0.0.1 --port "$port"
    for secret in coordinator admin submit worker view; do
        [ "$(stat -c %a "$WORK/fleet/$secret.key")" = 600 ]
    done
    [ "$(grep -vc '^#' "$WORK/fleet/keys.list")" = 4 ]
    . "$WORK/fleet/coordinator.env"
    qfleet-coordinator --data "$WORK/data" $QFLEET_OPTIONS > "$WORK/c.log" 2>&1 3>&- &
    coordinator=$!
    export QFLEET_CONFIG="$WORK/fleet/client.yml"
    wait_for 20 qctl jobs
    . "$WORK/fleet/worker.env"
    qfleet-worker --name node07 --threads 1 $QFLEET_OPTIONS > "$WORK/w.log" 2>&1 3>&- &
    worker=$!
    wait_for 20 sh -c "qctl workers --no-header | grep -q node07"
    # A key without the role may look and not act; no key at all does not get in.
    sed 's/admin.key/view.key/' "$WORK/fleet/client.yml" > "$WORK/fleet/view.yml"
    QFLEET_CONFIG="$WORK/fleet/view.yml" qctl workers
    run env QFLEET_CONFIG="$WORK/fleet/view.yml" qctl workers drain node07
    [ "$status" -eq 1 ]
    run env QFLEET_CONFIG= qctl jobs --coordinator "tcp://localhost:$port" --timeout 1s
    [ "$status" -ne 0 ]
    kill "$worker" "$coordinator"
    wait "$worker" "$coordinator"
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
