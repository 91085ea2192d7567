#!/usr/bin/env bats
# cli.bats - qctl as a person meets it: words, exit codes, files, processes. Needs no data but what
# example-corpus writes. QFLEET_BIN names the folder of the programs. Tests with the tag `words` start
# no process but qctl and leave nothing for others.

setup_file() {
    export PATH="${QFLEET_BIN:?}:$PATH"
    export WORK="$BATS_FILE_TMPDIR"
    export TMPDIR="$WORK"
    export QFLEET_CONFIG=
    example-corpus "$WORK/data"
    head -n 60 "$WORK/data/stories.jsonl" > "$WORK/data/few.jsonl"
    # Small enough for the thread sanitizer, under which each load of a kernel is a call.
    sed -i 's/\("hidden_size"\): 192/\1: 32/; s/\("intermediate_size"\): 512/\1: 64/
            s/\("num_attention_heads"\): 6/\1: 2/; s/\("num_key_value_heads"\): 6/\1: 2/' \
        "$WORK/data/model/config.json"
    cat > "$WORK/tiny.yml" <<'YAML'
base_model: data/model
random_init: true
datasets: [{path: data/few.jsonl, type: completion}]
sequence_len: 96
micro_batch_size: 4
learning_rate: 1e-3
max_steps: 6
save_steps: 2
output_dir: out
YAML
}

children() {
    pgrep -f "qfleet-(coordinator|worker).*$WORK" || true
}

# Waits until no child of a run is left, at most so many seconds.
no_children_within() {
    for _ in $(seq $((10 * $1))); do
        [ -z "$(children)" ] && return 0
        sleep 0.1
    done
    return 1
}

# Waits until the command holds, at most a minute.
soon() { # COMMAND...
    for _ in $(seq 1200); do
        "$@" && return 0
        sleep 0.05
    done
    return 1
}

# Interrupts `qctl run ARGUMENTS --data FOLDER` when the condition holds. A run that was over before that is no
# interrupted one: it is begun again, from nothing. Sets `code`, that of the command.
interrupt() { # SIGNAL CONDITION FOLDER ARGUMENTS...
    local number=$1 condition=$2 folder=$3
    shift 3
    for _ in 1 2 3 4 5; do
        rm -rf "$folder"
        env --default-signal=INT qctl run "$@" --data "$folder" 2> "$WORK/run.log" & # shells ignore it in background
        pid=$!
        soon eval "$condition || ! kill -0 $pid 2> /dev/null"
        kill "-$number" "$pid" 2> /dev/null || true
        code=0
        wait "$pid" || code=$?
        [ "$code" -eq 0 ] || return 0
    done
}

# bats test_tags=words
@test "help lists the verbs, and help of a verb begins with examples" {
    run qctl
    [ "$status" -eq 0 ]
    [[ "$output" == *"ckpt verify"* ]]
    run qctl help run
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "  qctl run recipe.yml" ]]
    run qctl help exit-codes
    [[ "$output" == *"   7  the coordinator, or a provider of workers, cannot be reached"* ]]
}

# bats test_tags=words
@test "the list of keys in docs/RECIPES.md is that of the program" {
    sed -n '/^## Every key$/,$p' "$BATS_TEST_DIRNAME/../../docs/RECIPES.md" | sed '1,/^```$/d; /^```$/,$d' > "$WORK/keys.txt"
    qctl help recipe | diff "$WORK/keys.txt" -
}

# bats test_tags=words
@test "a wrong command line is exit code 2 and names the nearest word" {
    run qctl sumbit x
    [ "$status" -eq 2 ]
    [ "$output" = "qctl: sumbit: unknown verb; did you mean qctl submit?" ]
    run qctl jobs
    [ "$status" -eq 2 ]
    [[ "$output" == *"--coordinator"* ]]
}

# bats test_tags=words
@test "output that cannot be written is an error" {
    run bash -c 'qctl help > /dev/full'
    [ "$status" -eq 1 ]
    [ "$output" = "qctl: stdout: No space left on device" ]
}

# bats test_tags=words
@test "a wrong recipe is exit code 3 with line and column, and nothing is made" {
    sed 's/learning_rate/learnin_rate/' "$WORK/tiny.yml" > "$WORK/bad.yml"
    run qctl run "$WORK/bad.yml" --data "$WORK/bad-data"
    [ "$status" -eq 3 ]
    [ "$output" = "qctl: $WORK/bad.yml:6:1: learnin_rate: unknown key; did you mean learning_rate?" ]
    [ ! -e "$WORK/bad-data" ]
    run qctl run "$WORK/tiny.yml" --set datasets=[nowhere.jsonl]
    [ "$status" -eq 4 ]
    [[ "$output" == *"datasets: expected a file or folder at $WORK/nowhere.jsonl, found nothing"* ]]
    [ ! -e "$WORK/out" ]
}

# bats test_tags=words
@test "a recipe that does not fit its model is exit code 3 before anything is sent" {
    qctl model create "$WORK/fit" --config "$WORK/data/model/config.json" --tokenizer "$WORK/data/model"
    sed 's/^random_init: true//; s/^base_model:.*/base_model: fit/; s/^sequence_len: 96/sequence_len: 256/' "$WORK/tiny.yml" > "$WORK/fit.yml"
    printf 'adapter: lora\nlora_r: 4\nlora_alpha: 8\nlora_target_modules: [q_proj]\n' >> "$WORK/fit.yml"
    refused() { # KEY=VALUE TEXT
        run qctl submit --dry-run "$WORK/fit.yml" --set "$1"
        [ "$status" -eq 3 ]
        [[ "$output" == *"$2"* ]]
    }
    run qctl submit --dry-run "$WORK/fit.yml"
    [ "$status" -eq 0 ]
    refused lora_r=4000 "lora_r: 4000 is more than module model.layers.0.self_attn.q_proj can have (32 x 32)"
    refused "lora_target_modules=[q_proj, foo]" "\"foo\" matches no linear module of the layers; there are q_proj"
    refused sequence_len=100000 "sequence_len: 100000 is longer than the 256 positions of the model"
    refused "resources={memory: 1M}" "memory: 1.0M, but"
    echo '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}' > "$WORK/data/chat.jsonl"
    refused "datasets=[data/chat.jsonl]" "chat_template: the model has no chat template; name one of"
    sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 1/' "$WORK/fit/config.json"
    refused lora_r=2 "config.json says 1 layers, the weights have more (model.layers.1."
}

# bats test_tags=words
@test "keys that contradict each other are exit code 3, each with what to do" {
    qctl model create "$WORK/both" --config "$WORK/data/model/config.json" --tokenizer "$WORK/data/model"
    printf '%s\n' 'base_model: both' 'datasets: [{path: data/few.jsonl, type: completion}]' 'sequence_len: 96' \
        'learning_rate: 1e-3' 'max_steps: 2' 'output_dir: both-out' > "$WORK/both.yml"
    head -c 4000 "$WORK/data/few.jsonl" > "$WORK/both.txt"
    printf '%s\n' 'base_model: both' 'sequence_len: 64' 'output_dir: both-out' > "$WORK/only.yml"
    lora=(--set adapter=lora --set lora_r=4 --set lora_alpha=8)
    refused() { # TEXT KEY=VALUE...
        local text=$1 sets=()
        shift
        for key in "$@"; do sets+=(--set "$key"); done
        run qctl submit --dry-run "$recipe" "${sets[@]}"
        echo "$*: $status $output"
        [ "$status" -eq 3 ]
        [[ "$output" == *"$text"* ]]
        [ ! -e "$WORK/both-out" ]
    }
    recipe="$WORK/both.yml"
    run qctl submit --dry-run "$recipe" "${lora[@]}" --set merge=full --set quantize=Q4_0
    [ "$status" -eq 0 ]
    # bases in few bits
    refused "load_in_8bit: excludes adapter: qlora" adapter=qlora lora_r=4 lora_alpha=8 load_in_8bit=true
    refused "load_in_4bit: false excludes adapter: qlora" adapter=qlora lora_r=4 lora_alpha=8 load_in_4bit=false
    refused "load_in_8bit: excludes load_in_4bit" adapter=lora lora_r=4 lora_alpha=8 load_in_4bit=true load_in_8bit=true
    refused "load_in_4bit: excludes adapter: none" load_in_4bit=true
    refused "bnb_4bit_quant_type: needs load_in_4bit: true" adapter=lora lora_r=4 lora_alpha=8 bnb_4bit_quant_type=fp4
    refused "loftq needs load_in_4bit: true" adapter=lora lora_r=4 lora_alpha=8 peft_init_lora_weights=loftq
    # adapters
    refused "lora_r: needs adapter: lora" lora_r=4
    refused "peft_use_dora: needs adapter: lora" peft_use_dora=true
    refused "lora_modules_to_save: needs adapter: lora" "lora_modules_to_save=[lm_head]"
    refused "q_proj.weight is frozen in few bits with load_in_8bit: true" adapter=lora lora_r=4 lora_alpha=8 "lora_modules_to_save=[q_proj]" "lora_target_modules=[v_proj]" load_in_8bit=true
    refused "lora_r: 4000 is more than module" adapter=lora "lora_r=[4, 4000]" lora_alpha=8
    refused "alpha_pattern: expected a number from 0" adapter=lora lora_r=4 lora_alpha=8 "alpha_pattern={q_proj: -3}"
    refused "adapter_reduction_factor: needs adapter: houlsby, pfeiffer or parallel" adapter=lora lora_r=4 lora_alpha=8 adapter_reduction_factor=8
    refused "num_virtual_tokens: needs adapter: prompt_tuning" num_virtual_tokens=8
    refused "text needs prompt_tuning_init_text" adapter=prompt_tuning prompt_tuning_init=text
    refused "prompt_tuning_init_text: expected a text" adapter=prompt_tuning prompt_tuning_init=text 'prompt_tuning_init_text=""'
    refused "excludes adapter; a random model has nothing to adapt" adapter=lora lora_r=4 lora_alpha=8 random_init=true
    # training that knows the quantizer
    refused "qat: weight_dtype is required" "qat={group_size: 32}"
    refused "qat: group_size goes with weight_dtype: int4, int8" "qat={weight_dtype: q4_0, group_size: 32}"
    refused "qat: excludes merge" adapter=lora lora_r=4 lora_alpha=8 qat=q4_0 merge=full
    refused "qat: excludes quantize" qat=q4_0 quantize=Q4_0
    refused "qat: excludes peft_use_dora" adapter=lora lora_r=4 lora_alpha=8 peft_use_dora=true qat=q4_0
    refused "qat: excludes evaluate: only" qat=q4_0 evaluate=only
    refused "qat: fake_quant_after_n_steps leaves none of max_steps" "qat={weight_dtype: q4_0, fake_quant_after_n_steps: 2}"
    refused "qat: warmup_steps is more than max_steps" "qat={weight_dtype: ternary, warmup_steps: 3}"
    refused "qat, lora_target_modules: the result has no place for an adapter of" adapter=lora lora_r=4 lora_alpha=8 "lora_target_modules=[embed_tokens]" qat=q4_0
    refused "excludes qat" adapter=lora lora_r=4 lora_alpha=8 load_in_4bit=true qat=q4_0
    # preference
    refused "excludes rl: dpo, which needs type: preference" rl=dpo
    refused "rl_beta: needs rl: dpo" rl_beta=0.2
    refused "type: preference needs rl: dpo" "datasets=[{path: data/few.jsonl, type: preference}]"
    # merging
    refused "merge: needs adapter: lora" merge=full
    refused "merge: excludes evaluate: only" adapter=lora lora_r=4 lora_alpha=8 merge=full evaluate=only
    refused "bottleneck adapters and prompts cannot be merged" adapter=houlsby merge=full
    refused "quantize: needs merge: full or dequantized" adapter=lora lora_r=4 lora_alpha=8 quantize=Q4_0
    refused "merge: dequantized needs a base in few bits" adapter=lora lora_r=4 lora_alpha=8 merge=dequantized
    refused "a list excludes merge" adapter=lora "lora_r=[4, 8]" lora_alpha=8 merge=full
    # quantizing
    recipe="$WORK/only.yml"
    refused "quantize: scheme is required" "quantize={method: rtn}"
    refused "scheme, target_bpw and target_kl exclude each other" "quantize={scheme: Q4_0, target_bpw: 4.5}"
    refused "this method needs calibration_datasets" "quantize={scheme: W4A16, method: gptq}"
    refused "needs calibration_datasets, or imatrix" "quantize={scheme: Q4_0, method: importance}"
    refused "quantize: method goes with" "quantize={scheme: Q4_0, method: awq}" "calibration_datasets=[{path: both.txt}]"
    refused "quantize: group_size goes with" "quantize={scheme: Q4_0, group_size: 32}"
    refused "quantize.scheme: expected W8A8" quantize=Q9_9
    refused "calibration_datasets: needs quantize" "calibration_datasets=[{path: both.txt}]" evaluate=only "test_datasets=[{path: both.txt}]"
    refused "quantize: excludes evaluate: only" quantize=Q4_0 evaluate=only "test_datasets=[{path: both.txt}]"
    refused "needs an adapter: datasets to train one, or lora_model_dir" merge=full adapter=lora
}

@test "an adapter is merged into its base, and what that cost is said" {
    qctl model create "$WORK/plain" --config "$WORK/data/model/config.json" --tokenizer "$WORK/data/model"
    cat > "$WORK/merge.yml" <<'YAML'
base_model: plain
datasets: [{path: data/few.jsonl, type: completion}]
val_set_size: 8
sequence_len: 96
micro_batch_size: 4
learning_rate: 1e-2
max_steps: 4
adapter: lora
lora_r: 4
lora_alpha: 8
lora_target_linear: true
merge: full
output_dir: merge-out
YAML
    qctl run "$WORK/merge.yml" > "$WORK/merge.out" 2> /dev/null
    grep -q "^perplexity .* as trained, .* merged$" "$WORK/merge.out"
    [ -s "$WORK/merge-out/adapter/adapter_model.safetensors" ]
    [ -s "$WORK/merge-out/model.safetensors" ]
    ! cmp -s "$WORK/merge-out/model.safetensors" "$WORK/plain/model.safetensors"
    run qctl inspect "$WORK/merge-out"
    [ "$status" -eq 0 ]
    run qctl generate "$WORK/merge-out" --prompt "The" --max-new-tokens 4
    [ "$status" -eq 0 ]
    run qctl run "$WORK/merge.yml" --set output_dir=half --set quantize=Q4_0
    [ "$status" -eq 0 ]
    [ -s "$WORK/half/plain-Q4_0.gguf" ]
    cmp "$WORK/half/model.safetensors" "$WORK/merge-out/model.safetensors"
}

# bats test_tags=words
@test "nobody at the endpoint is exit code 7" {
    run qctl jobs --coordinator "ipc://$WORK/nobody.sock" --timeout 500ms
    [ "$status" -eq 7 ]
    run qctl jobs --coordinator "ipc://$WORK/nobody.sock" --timeout 500ms -o json
    [ "$status" -eq 7 ]
    [[ "$output" == *'"code": "UNREACHABLE"'* ]]
}

# bats test_tags=words
@test "data check names every bad row by line" {
    { head -n 3 "$WORK/data/stories.jsonl"; echo '{"txt": "x"}'; echo '{"text": 7}'; } \
        > "$WORK/bad.jsonl"
    run qctl data check "$WORK/bad.jsonl"
    [ "$status" -eq 3 ]
    [[ "$output" == *"bad.jsonl:4: "* ]]
    [[ "$output" == *"bad.jsonl:5: "* ]]
    # Keys that nobody knows come with the lines of a recipe that would read them; they steer no terminal.
    echo '{"tale": "once"}' > "$WORK/tale.jsonl"
    run qctl data check "$WORK/tale.jsonl"
    [ "$status" -eq 3 ]
    [[ "$output" == *'the row has "tale"; beside path in the recipe: type: completion, field: tale' ]]
    sed "s,data/few.jsonl\, type: completion,tale.jsonl\, type: completion\, field: tale," "$WORK/tiny.yml" > "$WORK/tale.yml"
    qctl data check "$WORK/tale.yml"
    { head -n 3 "$WORK/data/stories.jsonl"; printf '{"\\u001b[31mtext": "x"}\n'; } > "$WORK/steers.jsonl"
    run qctl data check "$WORK/steers.jsonl"
    [[ "$output" == *'the row has "?[31mtext"'* ]]
    run qctl data check "$WORK/tiny.yml"
    [ "$status" -eq 0 ]
    [[ "$output" == *"60 rows"* ]]
}

# bats test_tags=words
@test "a dry run shows each value with its origin" {
    run qctl submit "$WORK/tiny.yml" --dry-run --set seed=7
    [ "$status" -eq 0 ]
    [[ "$output" == *"seed: 7  # --set"* ]]
    [[ "$output" == *"max_steps: 6  # $WORK/tiny.yml:7"* ]]
    [[ "$output" == *"weight_decay: 0.0  # default"* ]]
}

@test "run trains, writes its files, leaves nothing running" {
    run qctl run "$WORK/tiny.yml" --threads 1
    [ "$status" -eq 0 ]
    [[ "$output" == *"train_loss "*" after step 6"* ]]
    for file in model.safetensors config.json tokenizer.json trainer_state.json trainer_log.jsonl; do
        [ -s "$WORK/out/$file" ]
    done
    [ -z "$(children)" ]
    [ -z "$(find "$WORK" -maxdepth 1 -name 'qfleet-*')" ]
    sha256sum < "$WORK/out/model.safetensors" > "$WORK/whole.sha"
}

@test "run -o json is one JSON value on stdout" {
    qctl run "$WORK/tiny.yml" --threads 1 -o json 2> /dev/null > "$WORK/job.json"
    python3 - "$WORK/job.json" <<'PY'
import json, sys
job = json.load(open(sys.argv[1]))
assert job["row"]["state"] == "ok", job["row"]
assert [p["step"] for p in job["points"]] == [1, 2, 3, 4, 5, 6]
PY
}

@test "Ctrl-C ends a run with 130; the same command goes on to the same bits" {
    steps="--set max_steps=120 --set save_steps=20"
    rm -rf "$WORK/out"
    qctl run "$WORK/tiny.yml" --threads 1 $steps 2> /dev/null
    sha256sum < "$WORK/out/model.safetensors" > "$WORK/long.sha"
    rm -rf "$WORK/out"
    set -- "$WORK/tiny.yml" --threads 1 $steps
    interrupt INT "grep -q '^train' '$WORK/run.log'" "$WORK/kept" "$@"
    [ "$code" -eq 130 ]
    no_children_within 1
    rm -rf "$WORK/out"
    run qctl run "$@" --data "$WORK/kept"
    [ "$status" -eq 0 ]
    sha256sum < "$WORK/out/model.safetensors" | cmp - "$WORK/long.sha"
}

@test "a signal at any moment leaves nothing" {
    mkdir "$WORK/interrupted"
    for delay in 0.02 0.05 0.08 0.11 0.15 0.2 0.3; do
        TMPDIR="$WORK/interrupted" env --default-signal=INT qctl run "$WORK/tiny.yml" --threads 1 \
            --set max_steps=100000 2> /dev/null &
        pid=$!
        until grep -qsx qctl "/proc/$pid/comm" || ! kill -0 "$pid"; do :; done # before, the signal is ignored
        sleep "$delay"
        kill -INT "$pid"
        wait "$pid" || true
        no_children_within 1
        [ -z "$(ls "$WORK/interrupted")" ]
    done
}

@test "nohup holds" {
    nohup qctl run "$WORK/tiny.yml" --threads 1 --set max_steps=200 --set save_steps=100 \
        2> "$WORK/nohup.log" > /dev/null &
    pid=$!
    soon eval '[ -n "$(children)" ]'
    kill -HUP "$pid"
    wait "$pid"
}

@test "a reader that leaves does not end the run" {
    rm -rf "$WORK/out"
    qctl run "$WORK/tiny.yml" --threads 1 2>&1 | head -n 1
    [ "${PIPESTATUS[0]}" -eq 0 ]
    [ -s "$WORK/out/model.safetensors" ]
}

# bats test_tags=words
@test "a place where results cannot go is met before training" {
    run qctl run "$WORK/tiny.yml" --set "output_dir=$WORK/tiny.yml/out"
    [ "$status" -eq 1 ]
    [ "$output" = "qctl: $WORK/tiny.yml: output_dir: $WORK/tiny.yml: expected a folder, found a file" ]
    run qctl run "$WORK/tiny.yml" --set "output_dir=$WORK/data/model"
    [ "$status" -eq 3 ]
    [[ "$output" == *"would be overwritten"* ]]
}

@test "children go when qctl is killed" {
    qctl run "$WORK/tiny.yml" --threads 1 --set max_steps=100000 2> /dev/null &
    pid=$!
    soon eval '[ -n "$(children)" ]'
    kill -KILL "$pid"
    wait "$pid" || true
    no_children_within 60
}

@test "a loss that is not finite fails the job with its place" {
    run qctl run "$WORK/tiny.yml" --threads 1 --set learning_rate=1000 --set max_grad_norm=0 \
        --set weight_decay=1 --set max_steps=60
    [ "$status" -eq 1 ]
    [[ "$output" == *"NOT_FINITE: train"*" step "*" (rows "*"is not finite"*"; the checkpoint of step "*" is kept"* ]]
}

@test "of several rates the one too high is given up, and the others give results" {
    run qctl run "$WORK/tiny.yml" --threads 1 --set "learning_rate=[1e-3, 1000]" --set max_grad_norm=0 \
        --set weight_decay=1 --set max_steps=60 --set output_dir=rates
    echo "$output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"learning_rate=1000.0  FAIL"*"not finite"* ]]
    [ -s "$WORK/rates/learning_rate=0.001/model.safetensors" ]
    [ -s "$WORK/rates/learning_rate=1000.0/trainer_log.jsonl" ]
    [ ! -e "$WORK/rates/learning_rate=1000.0/model.safetensors" ]
    run qctl run "$WORK/tiny.yml" --threads 1 --set "learning_rate=[1000, 999]" --set max_grad_norm=0 \
        --set weight_decay=1 --set max_steps=60
    [ "$status" -eq 1 ]
    [[ "$output" == *"NOT_FINITE"* ]]
}

@test "a fleet: submit, look, pull, stop" {
    mkdir -m 700 "$WORK/fleet"
    export QFLEET_COORDINATOR="ipc://$WORK/fleet/control.sock"
    qfleet-coordinator --data "$WORK/fleet" > /dev/null 2>&1 3>&- &
    coordinator=$!
    qfleet-worker --coordinator "$QFLEET_COORDINATOR" --name w1 --threads 1 > /dev/null 2>&1 3>&- &
    run qctl submit "$WORK/tiny.yml" --wait --timeout 30s
    [ "$status" -eq 0 ]
    run qctl jobs
    [[ "$output" == *"tiny"*" ok "* ]]
    run qctl workers
    [[ "$output" == *"w1"*"ready"* ]]
    run qctl graph last
    [[ "$output" == *"ok "*"train"*"6/6"* ]]
    run qctl show last --recipe
    [[ "$output" == *"max_steps: 6"* ]]
    run qctl ckpt log last
    [[ "${lines[1]}" == *" 6 "*"latest"* ]]
    run qctl ckpt verify last
    [ "$status" -eq 0 ]
    run qctl logs last
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -gt 3 ]
    run qctl show nothing-like-this
    [ "$status" -eq 4 ]
    run qctl pull last "$WORK/pulled"
    [ "$status" -eq 0 ]
    sha256sum < "$WORK/pulled/model.safetensors" | cmp - "$WORK/whole.sha"
    run qctl wait last
    [ "$status" -eq 0 ]
    kill -TERM "$coordinator"
    wait "$coordinator" || true
    kill %2 || true
}

@test "over TCP a known key is let in by its role, an unknown one is not" {
    mkdir -m 700 "$WORK/keys"
    cd "$WORK/keys"
    umask 077
    qctl keys create coordinator.key --role admin > /dev/null
    qctl keys create me.key --role admin --name me > keys.list
    qctl keys create viewer.key --role view >> keys.list
    qctl keys create stranger.key --role admin > /dev/null
    run qctl keys create me.key
    [ "$status" -eq 1 ]
    qfleet-coordinator --data data --control "tcp://127.0.0.1:*" --bulk "tcp://127.0.0.1:*" \
        --keys keys.list --secret coordinator.key > ready 2> /dev/null 3>&- &
    coordinator=$!
    soon grep -q '^ready ' ready
    QFLEET_COORDINATOR=$(sed 's/^ready control=\([^ ]*\).*/\1/' ready)
    export QFLEET_COORDINATOR
    run qctl jobs --server-key coordinator.key.pub --secret me.key
    [ "$status" -eq 0 ]
    run qctl submit "$WORK/tiny.yml" --server-key coordinator.key.pub --secret viewer.key
    [ "$status" -eq 1 ]
    run qctl jobs --server-key coordinator.key.pub --secret stranger.key --timeout 1s
    [ "$status" -eq 7 ]
    chmod 644 me.key
    run qctl jobs --server-key coordinator.key.pub --secret me.key
    [ "$status" -eq 1 ]
    kill -TERM "$coordinator"
    wait "$coordinator" || true
}

@test "a damaged model is named by its own path, at once" {
    cp -r "$WORK/out" "$WORK/damaged"
    truncate -s -1 "$WORK/damaged/model.safetensors"
    run qctl run "$WORK/tiny.yml" --set "base_model=$WORK/damaged" --set random_init=false \
        --data "$WORK/damaged-data"
    [ "$status" -eq 3 ]
    [[ "$output" == "qctl: $WORK/damaged/model.safetensors: "* ]]
    [ ! -e "$WORK/damaged-data" ]
}

@test "damaged checkpoints are not trained from: the run goes back, to the same bits" {
    states() {
        grep -rl qfleet-state "$WORK/damaged-state/artifacts" 2> /dev/null | wc -l
    }
    set -- "$WORK/tiny.yml" --threads 1 --set max_steps=40
    for _ in 1 2 3 4 5; do
        interrupt TERM '[ "$(states)" -gt 2 ]' "$WORK/damaged-state" "$@" --set "output_dir=$WORK/from-damage"
        [ "$(states)" -ge 20 ] || break # the job was over already
    done
    [ "$code" -eq 143 ]
    python3 - "$WORK/damaged-state/artifacts" <<'PY'
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            content = bytearray(file.read())
        if b"qfleet-state" in content[:65536]:
            content[-1] ^= 1
            os.chmod(path, 0o600)
            with open(path, "wb") as file:
                file.write(content)
PY
    run qctl run "$@" --set "output_dir=$WORK/from-damage" --data "$WORK/damaged-state"
    [ "$status" -eq 0 ]
    [ -n "$(ls "$WORK/damaged-state/artifacts/damaged")" ]
    run qctl run "$@" --set "output_dir=$WORK/from-start"
    [ "$status" -eq 0 ]
    cmp "$WORK/from-damage/model.safetensors" "$WORK/from-start/model.safetensors"
}

@test "a job that is over can be forgotten" {
    mkdir -m 700 "$WORK/forget"
    export QFLEET_COORDINATOR="ipc://$WORK/forget/control.sock"
    qfleet-coordinator --data "$WORK/forget" > /dev/null 2>&1 3>&- &
    coordinator=$!
    run qctl submit "$WORK/tiny.yml" --timeout 30s
    [ "$status" -eq 0 ]
    run qctl forget last
    [ "$status" -eq 1 ]
    [[ "$output" == *"the job is in state wait"* ]]
    qctl cancel last
    run qctl jobs
    [[ "$output" == *"tiny"*"cancel"* ]]
    [[ "$output" != *"CANCELLED"* ]]
    qctl forget last
    run qctl show last
    [ "$status" -eq 4 ]
    run qctl logs
    [[ "${lines[-1]}" == *"forgotten"* ]]
    kill -TERM "$coordinator"
    wait "$coordinator" || true
}

@test "a model of ours speaks, and model create makes one" {
    run qctl generate "$WORK/out" --prompt "Mira is at the river" --max-new-tokens 5 --echo
    [ "$status" -eq 0 ]
    [[ "$output" == "Mira is at the river"* ]]
    run qctl model create "$WORK/new" --config "$WORK/data/model/config.json" \
        --tokenizer "$WORK/data/model"
    [ "$status" -eq 0 ]
    run qctl generate "$WORK/new" --prompt "Mira" --max-new-tokens 3
    [ "$status" -eq 0 ]
    run qctl model create "$WORK/new" --config "$WORK/data/model/config.json"
    [ "$status" -eq 1 ]
}

# bats test_tags=words
@test "inspect says what a model, an adapter and a file of weights are, without a fleet" {
    run qctl model create "$WORK/made" --config "$WORK/data/model/config.json" \
        --tokenizer "$WORK/data/model"
    [ "$status" -eq 0 ]
    run qctl inspect "$WORK/made"
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "$WORK/made: a Hugging Face model" ]]
    [[ "$output" == *"family "*" llama"* ]]
    [[ "$output" == *"LoRA r=16 "* ]]
    [[ "$output" == *"special ids "*"eos "* ]]
    run qctl inspect "$WORK/made" --tensors
    [[ "$output" == *"model.layers.0.self_attn.q_proj.weight "*"F32"* ]]
    run qctl inspect "$WORK/made/model.safetensors"
    [[ "${lines[0]}" == *": a file of safetensors" ]]
    run qctl inspect "$WORK/data/model"
    [[ "$output" == *"weights "*"none here"* ]]
    qctl run "$WORK/tiny.yml" --threads 1 --set base_model="$WORK/made" --set random_init=false \
        --set adapter=lora --set lora_r=4 --set lora_alpha=8 --set lora_target_modules=[q_proj] \
        --set chat_template=zephyr --set max_steps=1 --set output_dir="$WORK/lora" 2> /dev/null > /dev/null
    run qctl inspect "$WORK/lora"
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "$WORK/lora: a LoRA adapter of PEFT" ]]
    [[ "$output" == *"q_proj "*" 4 "*" 2" ]]
    [[ "$output" == *"chat template  zephyr"* ]]
    grep -q 'eos_token' "$WORK/lora/chat_template.jinja"
    cp "$WORK/lora/chat_template.jinja" "$WORK/made"
    qctl convert "$WORK/made" "$WORK/made.gguf" > /dev/null 2>&1
    run qctl inspect "$WORK/made.gguf"
    [[ "${lines[0]}" == "$WORK/made.gguf: a GGUF model" ]]
    [[ "$output" == *"chat template  zephyr"* ]]
    qctl convert "$WORK/made.gguf" "$WORK/made-again" > /dev/null 2>&1
    run qctl inspect "$WORK/made-again"
    [[ "$output" == *"chat template  zephyr"* ]]
    qctl inspect "$WORK/made" -o json > "$WORK/made.json"
    python3 - "$WORK/made.json" <<'PY'
import json, sys
found = json.load(open(sys.argv[1]))
assert found["kind"] == "model" and found["family"] == "llama", found
assert sum(t["elements"] for t in found["types"]) == found["parameters"], found["types"]
plans = {(p["name"], p["sequence_len"]): p["worker_bytes"] for p in found["memory"]["plans"]}
lengths = {length for _, length in plans}
assert all(plans["evaluation", n] < plans["LoRA r=8", n] <= plans["full training", n] for n in lengths)
PY
}

# bats test_tags=words
@test "inspect of a model of 13 GB reads next to none of it" {
    python3 - "$WORK/sparse" <<'PY'
import json, os, struct, sys
layers, width, mlp, words = 32, 4096, 11008, 32000
shapes = {"model.embed_tokens.weight": [words, width], "model.norm.weight": [width],
          "lm_head.weight": [words, width]}
for layer in range(layers):
    at = f"model.layers.{layer}."
    for name in ("input_layernorm", "post_attention_layernorm"):
        shapes[f"{at}{name}.weight"] = [width]
    for name in "qkvo":
        shapes[f"{at}self_attn.{name}_proj.weight"] = [width, width]
    for name, shape in (("gate", [mlp, width]), ("up", [mlp, width]), ("down", [width, mlp])):
        shapes[f"{at}mlp.{name}_proj.weight"] = shape
header, end = {}, 0
for name, shape in sorted(shapes.items()):
    size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
    end += size
text = json.dumps(header).encode()
os.mkdir(sys.argv[1])
with open(sys.argv[1] + "/model.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    file.truncate(8 + len(text) + end)
with open(sys.argv[1] + "/config.json", "w") as file:
    json.dump({"model_type": "llama", "hidden_size": width, "intermediate_size": mlp,
               "num_hidden_layers": layers, "num_attention_heads": 32, "vocab_size": words,
               "rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
               "tie_word_embeddings": False}, file)
PY
    run timeout 10 qctl inspect "$WORK/sparse"
    [ "$status" -eq 0 ]
    [[ "$output" == *"6 738 415 616 in 291 tensors, 13G"* ]]
    rm -r "$WORK/sparse"
}

# bats test_tags=words
@test "inspect names what is wrong with a file, with exit code 3 or 4" {
    run qctl inspect "$WORK/nothing"
    [ "$status" -eq 4 ]
    run qctl inspect "$WORK/tiny.yml"
    [ "$status" -eq 3 ]
    [ "$output" = "qctl: $WORK/tiny.yml: expected a GGUF or safetensors file, or the folder of a model or an adapter" ]
    head -c 5000 "$WORK/made/model.safetensors" > "$WORK/cut.safetensors"
    run qctl inspect "$WORK/cut.safetensors"
    [ "$status" -eq 3 ]
    [[ "$output" == "qctl: $WORK/cut.safetensors: "* ]]
    [ "${#lines[@]}" -eq 1 ]
}

# bats test_tags=words
@test "convert goes to GGUF and back, and takes adapters along" {
    run qctl convert "$WORK/made" "$WORK/there.gguf"
    [ "$status" -eq 0 ]
    [[ "$output" == "$WORK/there.gguf: a GGUF model of architecture llama, "* ]]
    run qctl inspect "$WORK/there.gguf"
    [[ "$output" == *"family "*" llama"* ]]
    qctl convert "$WORK/there.gguf" "$WORK/again"
    cmp "$WORK/made/model.safetensors" "$WORK/again/model.safetensors"
    run qctl generate "$WORK/made" --temperature 0 --prompt "Once" --max-new-tokens 8
    said=$output
    run qctl generate "$WORK/again" --temperature 0 --prompt "Once" --max-new-tokens 8
    [ "$output" = "$said" ]
    run qctl convert "$WORK/lora" "$WORK/lora.gguf" --base "$WORK/there.gguf" --type f16
    [ "$status" -eq 0 ]
    [[ "$output" == "$WORK/lora.gguf: a GGUF adapter of architecture llama, "* ]]
    run qctl inspect "$WORK/lora.gguf"
    [ "$status" -eq 0 ]
    run qctl convert "$WORK/lora" "$WORK/lora2.gguf"
    [ "$status" -eq 2 ]
    [[ "$output" == *"expected --base MODEL"* ]]
    run qctl convert "$WORK/made" "$WORK/there.gguf"
    [ "$status" -eq 1 ]
    [[ "$output" == *"exists already"* ]]
    run qctl convert "$WORK/made" "$WORK/made.bin"
    [ "$status" -eq 2 ]
    [[ "$output" == *"ends in .gguf" ]]
    head -c 3000 "$WORK/there.gguf" > "$WORK/cut.gguf"
    run qctl convert "$WORK/cut.gguf" "$WORK/none"
    [ "$status" -eq 3 ]
    [[ "$output" == "qctl: $WORK/cut.gguf: "* ]]
    [ ! -e "$WORK/none" ]
}

# bats test_tags=words
@test "convert makes blocks of a GGUF file as of its folder, and of blocks only when told" {
    qctl convert "$WORK/made" "$WORK/plain.gguf" --type f32 2> /dev/null
    qctl convert "$WORK/plain.gguf" "$WORK/blocks.gguf" --type Q8_0 2> /dev/null
    qctl convert "$WORK/made" "$WORK/direct.gguf" --type Q8_0 2> /dev/null
    qctl inspect "$WORK/blocks.gguf" --tensors | tail -n +2 > "$WORK/blocks.txt"
    qctl inspect "$WORK/direct.gguf" --tensors | tail -n +2 > "$WORK/direct.txt"
    diff <(grep -v "^name" "$WORK/blocks.txt") <(grep -v "^name" "$WORK/direct.txt")
    [ "$(tail -c 20000 "$WORK/blocks.gguf" | sha256sum)" = "$(tail -c 20000 "$WORK/direct.gguf" | sha256sum)" ]
    run qctl convert "$WORK/blocks.gguf" "$WORK/again.gguf" --type Q4_0
    [ "$status" -eq 3 ]
    [[ "$output" == *" is Q8_0 already; quantize from the original weights, or allow it: --allow-requantize"* ]]
    [ ! -e "$WORK/again.gguf" ]
    run qctl convert "$WORK/blocks.gguf" "$WORK/again.gguf" --type Q4_0 --allow-requantize
    [ "$status" -eq 0 ]
    run qctl convert "$WORK/blocks.gguf" "$WORK/folder" --type Q4_0
    [ "$status" -eq 2 ]
}

# bats test_tags=words
@test "convert says when the model has no tokenizer" {
    mkdir "$WORK/mute"
    cp "$WORK/made/config.json" "$WORK/made/model.safetensors" "$WORK/mute"
    run qctl convert "$WORK/mute" "$WORK/mute.gguf"
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "$WORK/mute.gguf: no tokenizer in it, for $WORK/mute has none"* ]]
    run qctl convert "$WORK/made" "$WORK/loud.gguf"
    [ "${#lines[@]}" -eq 1 ]
}

# bats test_tags=words
@test "what a file does not say is said, and a hint names the switch" {
    printf 'GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' > "$WORK/bare.gguf"
    run qctl inspect "$WORK/bare.gguf"
    [ "$status" -eq 0 ]
    [[ "$output" == *"architecture "*" not named (general.architecture), 0 keys"* ]]
    cp -R "$WORK/made" "$WORK/plain-spoken"
    rm "$WORK/plain-spoken/chat_template.jinja"
    run qctl chat "$WORK/plain-spoken"
    [ "$status" -eq 4 ]
    [[ "$output" == "qctl: --chat-template: the model has no chat template; name one of chatml, "* ]]
}

# bats test_tags=words
@test "imatrix merge adds files up, and refuses those of two models" {
    python3 - "$WORK" <<'PY'
import struct, sys
def write(name, text, entries):
    with open(f"{sys.argv[1]}/{name}", "wb") as file:
        file.write(struct.pack("<i", len(entries)))
        for weight, calls, values in entries:
            file.write(struct.pack("<i", len(weight)) + weight.encode())
            file.write(struct.pack("<ii", calls, len(values)) + struct.pack(f"<{len(values)}f", *values))
        file.write(struct.pack("<ii", calls, len(text)) + text.encode())
write("a.dat", "a.txt", [("blk.0.attn_q.weight", 2, [2.0, 4.0])])
write("b.dat", "b.txt", [("blk.0.attn_q.weight", 3, [3.0, 0.5]), ("blk.0.attn_k.weight", 3, [1.0, 1.0])])
write("c.dat", "c.txt", [("blk.0.attn_q.weight", 3, [3.0, 0.5, 1.0])])
write("sum.dat", "a.txt + b.txt", [("blk.0.attn_k.weight", 3, [1.0, 1.0]),
                                   ("blk.0.attn_q.weight", 5, [5.0, 4.5])])
PY
    run qctl imatrix merge "$WORK/a.dat" "$WORK/b.dat" "$WORK/merged.dat"
    [ "$status" -eq 0 ]
    [ "$output" = "$WORK/merged.dat: importance of 2 weights in 5 chunks" ]
    cmp "$WORK/merged.dat" "$WORK/sum.dat"
    run qctl imatrix merge "$WORK/a.dat" "$WORK/c.dat" "$WORK/none.dat"
    [ "$status" -eq 3 ]
    [ "$output" = "qctl: files of two models: blk.0.attn_q.weight: expected 2 columns as before, found 3" ]
    run qctl imatrix merge "$WORK/a.dat" "$WORK/none.gguf"
    [ "$status" -eq 3 ]
    [[ "$output" == *"the GGUF form needs counts of tokens"* ]]
    [ ! -e "$WORK/none.gguf" ]
    run qctl imatrix merge "$WORK/a.dat" "$WORK/merged.dat"
    [ "$status" -eq 1 ]
    run qctl imatrix merge "$WORK/a.dat"
    [ "$status" -eq 2 ]
}

@test "stats and plot show what quantizing cost, while the job is kept" {
    qctl model create "$WORK/shown" --config "$WORK/data/model/config.json" --tokenizer "$WORK/data/model"
    head -c 6000 "$WORK/data/few.jsonl" > "$WORK/calib.txt"
    cat > "$WORK/static.yml" <<'YAML'
base_model: shown
name: static
sequence_len: 64
calibration_datasets: [{path: calib.txt}]
quantize: {scheme: W8A8, activations: static, observer: percentile, samples: 4}
output_dir: static-out
YAML
    export QFLEET_COORDINATOR="ipc://$WORK/stats/control.sock"
    mkdir -m 700 "$WORK/stats"
    qfleet-coordinator --data "$WORK/stats" > /dev/null 2>&1 3>&- &
    head=$!
    qfleet-worker --coordinator "$QFLEET_COORDINATOR" --name w1 --threads 1 > /dev/null 2>&1 3>&- &
    worker=$!
    qctl submit "$WORK/static.yml" --wait 2> /dev/null

    run qctl stats static --top 3
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "calibration: "*" tokens in 4 rows, "*" inputs, key "* ]]
    [[ "${lines[1]}" == TENSOR*OUTLIER*FORMAT*WEIGHTED* ]]
    [[ "${lines[2]}" == "model.layers."*" W8A8 "* ]]
    [[ "$output" == *"ignore: [lm_head, model.layers."*"]"* ]]
    run qctl stats static layers.0.mlp.down_proj
    [ "$status" -eq 0 ]
    [[ "$output" == *"percentile (chosen)"* ]]
    [[ "$output" == *"minmax"* ]]
    run qctl stats static layers.99
    [ "$status" -eq 4 ]
    run qctl stats static --sort colour
    [ "$status" -eq 2 ]
    qctl stats static -o json > "$WORK/stats.json"
    qctl plot static "$WORK/errors.svg" 2> /dev/null
    qctl plot static "$WORK/errors.png" 2> /dev/null
    run qctl plot static "$WORK/input.svg" --tensor layers.0.mlp.down_proj
    [ "$status" -eq 0 ]
    grep -q "percentile .*(chosen)" "$WORK/input.svg"
    run qctl plot static "$WORK/errors.gif"
    [ "$status" -eq 2 ]
    python3 - "$WORK" <<'PY'
import json, struct, sys, xml.dom.minidom, zlib
stats = json.load(open(sys.argv[1] + "/stats.json"))
assert stats["name"] == "static" and stats["calibration"]["rows"] == 4, stats
errors = [t["figures"]["weighted_error"] for t in stats["tensors"]]
assert errors and errors == sorted(errors, reverse=True), errors
assert all(t["input"]["tokens"] == stats["calibration"]["tokens"] for t in stats["tensors"])
page = xml.dom.minidom.parse(sys.argv[1] + "/errors.svg").documentElement
titles = [t.firstChild.data for t in page.getElementsByTagName("title")]
assert len(titles) == len(errors), titles
png, at, rows = open(sys.argv[1] + "/errors.png", "rb").read(), 8, b""
while at < len(png):
    size, = struct.unpack(">I", png[at:at + 4])
    kind, content = png[at + 4:at + 8], png[at + 8:at + 8 + size]
    assert struct.unpack(">I", png[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + content)
    if kind == b"IHDR":
        width, height = struct.unpack(">II", content[:8])
    if kind == b"IDAT":
        rows += content
    at += 12 + size
assert width == 2 * int(page.getAttribute("width")) and len(zlib.decompress(rows)) == height * (width + 1)
PY

    kill -TERM "$worker" "$head"
    wait "$worker" "$head" || true
}

@test "the recipes of the examples run, the second on what the first makes" {
    mkdir "$WORK/examples"
    cp -R "$BATS_TEST_DIRNAME"/../../examples/0* "$WORK/examples"
    rm -rf "$WORK"/examples/*/out
    ln -s "$WORK/data" "$WORK/examples/data"
    run qctl run "$WORK/examples/01-train-tiny/recipe.yml" --threads 1 --set max_steps=3
    [ "$status" -eq 0 ]
    [ -s "$WORK/examples/01-train-tiny/out/model.safetensors" ]
    run qctl run "$WORK/examples/02-adapt-lora/recipe.yml" --threads 1 --set max_steps=3
    [ "$status" -eq 0 ]
    [ -s "$WORK/examples/02-adapt-lora/out/adapter_model.safetensors" ]
    run qctl generate "$WORK/examples/01-train-tiny/out" --prompt "Mira has" --max-new-tokens 3 \
        --adapter "$WORK/examples/02-adapt-lora/out"
    [ "$status" -eq 0 ]
}
