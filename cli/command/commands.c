/* commands.c - the table of verbs: names, arguments, options, examples. Help and completion are
 * printed from it. */
#include "cli/command/commands.h"

#include <inttypes.h>
#include <string.h>

#include "cli/command/cmd.h"
#include "cli/command/manual.h"
#include "cli/command/output_schema.h"
#include "common/base/check.h"
#include "common/base/nearest.h"
#include "common/recipe/recipe.h"

static const struct command_option run_options[] = {
    {"workers", "N", "workers to start (1)"},
    {"threads", "N", "compute threads of each worker (all cores, shared out)"},
    {"data", "DIR", "durable folder; the same command goes on from it after an interruption"},
    {"isa", "NAME", "best, avx512, avx2 or portable"},
    {"set", "KEY=VALUE", "a key of the recipe, above the file; may be repeated"},
    {"keep", NULL, "leave the temporary folder behind"},
    {"keep-going", NULL, "start children again however often they die"},
};
static const struct command_option submit_options[] = {
    {"set", "KEY=VALUE", "a key of the recipe, above the file; may be repeated"},
    {"dry-run", NULL, "print every value, where it comes from, and the memory it needs"},
    {"anyway", NULL, "also what no worker has the memory for: it waits for a larger one"},
    {"wait", NULL, "follow the job; Ctrl-C detaches"},
};
static const struct command_option jobs_options[] = {
    {"active", NULL, "without those that are over"},
    {"limit", "N", "newest rows"},
};
static const struct command_option show_options[] = {{"recipe", NULL, "with the frozen recipe"}};
static const struct command_option graph_options[] = {
    {"all", NULL, "a line a stage, also where variants are alike"},
    {"critical", NULL, "only the longest way, by the times that stages took or will take"},
    {"watch", NULL, "draw it again as it changes; a line a change where there is no terminal"},
    {"dot", NULL, "for Graphviz, as -o dot"},
    {"mermaid", NULL, "for Mermaid, as -o mermaid"},
};
static const struct command_option pull_options[] = {
    {"log", NULL, "with trainer_log.jsonl, and event files where the recipe asks for them"},
};
static const struct command_option watch_options[] = {
    {"points", NULL, "a line for every log point"},
};
static const struct command_option logs_options[] = {{"follow", NULL, "go on as events come"}};
static const struct command_option wait_options[] = {
    {"for", "TIME", "give up after so long, with exit code 6"},
};
static const struct command_option reason_options[] = {
    {"reason", "TEXT", "kept in the event log"},
};
static const struct command_option scale_options[] = {
    {"provider", "NAME", "of providers.yml (the only one)"},
    {"dry-run", NULL, "only say what would be started, cancelled and drained, and how"},
    {"reason", "TEXT", "kept in the event log"},
};
static const struct command_option forget_options[] = {
    {"keep-last", "N", "the newest N of each training"},
    {"keep-best", "N", "the N of lowest held-out loss"},
    {"keep-every", "STEPS", "those whose step is a multiple"},
    {"keep-within", "TIME", "those younger than this (2d, 36h)"},
    {"keep-first", NULL, "the first of each training"},
    {"keep-tag", "NAME", "those with this tag (they stay in any case)"},
    {"dry-run", NULL, "say what would be forgotten, and what pruning would free"},
    {"prune", NULL, "free their space at once"},
    {"reason", "TEXT", "kept in the event log"},
};
static const struct command_option prune_options[] = {
    {"dry-run", NULL, "say what would be freed"},
};
static const struct command_option tag_options[] = {{"delete", NULL, "take the name away"}};
static const struct command_option diff_options[] = {
    {"top", "N", "so many modules, 0 for all (20; with -o json all)"},
};
static const struct command_option fork_options[] = {
    {"set", "KEY=VALUE", "a key of the recipe; may be repeated"},
    {"name", "TEXT", "of the new job (the first one's name and -fork)"},
    {"dry-run", NULL, "print the new recipe; submit nothing"},
};
static const struct command_option check_options[] = {
    {"set", "KEY=VALUE", "a key of the recipe, above the file; may be repeated"},
    {"tokenizer", "FOLDER", "count tokens with the tokenizer of this model"},
    {"type", "NAME", "what a row is, when it shall not be told from the first one"},
    {"sequence-len", "N", "where rows are cut (512)"},
};
#define SAMPLING_OPTIONS                                                                           \
    {"adapter", "FOLDER", "an adapter to add"}, {"prompt", "TEXT", "what comes before"},           \
        {"temperature", "X", "0 takes the likeliest token (0.8)"},                                 \
        {"top-p", "X", "the fewest tokens that reach this probability (0.95)"},                    \
        {"top-k", "N", "of the likeliest so many (all)"},                                          \
        {"repetition-penalty", "X", "above 1: what was said becomes less likely (1)"},             \
        {"max-new-tokens", "N", "at most so many (200)"}, {"seed", "N", "of the draw (42)"},       \
    {                                                                                              \
        "threads", "N", "compute threads (all cores)"                                              \
    }
static const struct command_option generate_options[] = {
    SAMPLING_OPTIONS,
    {"prompt-file", "FILE", "the prompt as the content of a file"},
    {"echo", NULL, "print the prompt too"},
};
static const struct command_option chat_options[] = {
    SAMPLING_OPTIONS,
    {"system", "TEXT", "what the model is told first"},
    {"chat-template", "NAME", "instead of the model's own"},
};
static const struct command_option create_options[] = {
    {"config", "FILE", "config.json of the model"},
    {"tokenizer", "FOLDER", "folder whose tokenizer files are copied"},
    {"seed", "N", "of the random start (42)"},
};

static const struct command_option inspect_options[] = {
    {"tensors", NULL, "a line a tensor instead of a line a type"},
};
static const struct command_option convert_options[] = {
    {"type", "NAME",
     "of matrices: keep, f32, f16, bf16, or blocks: Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0, ... (keep; "
     "an adapter: f32)"},
    {"imatrix", "FILE", "importance of columns for the searches of blocks, in either form"},
    {"pure", NULL, "all matrices of the one type, without the mix"},
    {"leave-output-tensor", NULL, "the output matrix stays as it is"},
    {"output-tensor-type", "TYPE", "of the output matrix"},
    {"token-embedding-type", "TYPE", "of the embedding"},
    {"tensor-type", "PATTERN=TYPE", "of tensors whose name fits; may be repeated"},
    {"allow-requantize", NULL, "take blocks of a GGUF file as weights, with the loss they had"},
    {"threads", "N", "compute threads (all cores)"},
    {"base", "MODEL", "of an adapter: the folder or GGUF file that it is for"},
    {"name", "TEXT", "general.name of the file (the name of IN)"},
};
static const struct command_option merge_options[] = {
    {"form", "NAME", "legacy or gguf (what OUT ends in: .dat, .gguf; else that of the files)"},
};
static const struct command_option init_options[] = {
    {"host", "NAME", "name or address where workers and clients reach this machine (its name)"},
    {"listen", "ADDRESS", "where the coordinator listens (0.0.0.0, or :: for an IPv6 --host)"},
    {"port", "N", "of its control socket; the next one is for artifacts (7070)"},
};
static const struct command_option help_options[] = {
    {"man", NULL,
     "the source of a man page: qctl(1), or of `recipe` or `providers` those of section 5"},
};
static const struct command_option keys_options[] = {
    {"role", "ROLE", "admin, submit, worker or view (worker)"},
    {"name", "NAME", "who holds it (the name of the file)"},
};

static const struct command_option stats_options[] = {
    {"sort", "KEY", "weighted, error, output, outlier, spread, bits, size or place (weighted)"},
    {"top", "N", "so many tensors, 0 for all (20; with -o json all)"},
};

static const struct command_option plot_options[] = {
    {"smooth", "WEIGHT", "of the curves of training: means that decay by it, such as 0.9 (0)"},
    {"log", NULL, "a logarithmic axis"},
    {"x", "KEY", "over step, epoch, tokens or time (step)"},
    {"width", "N", "columns in the terminal (all)"},
    {"height", "N", "lines in the terminal (20)"},
    {"by", "KEY", "of errors: weighted, error or output (weighted)"},
    {"tensor", "NAME", "of calibration: the histogram at its input, with the clips of observers"},
};

static const struct command_option top_options[] = {
    {"once", NULL, "print the page once; so it is where there is no terminal"},
    {"width", "N", "columns of a page that is printed (all)"},
    {"height", "N", "lines of a page that is printed (24)"},
};

static const struct command_option export_options[] = {
    {"name", "TEXT", "what the card calls it (the name of the job)"},
    {"base-model", "OWNER/NAME", "the model it was made from (base_model_name of the recipe)"},
    {"license", "ID", "such as apache-2.0"},
    {"variant", "NAME", "of a job with lists: whose result"},
};
static const struct command_option metrics_options[] = {
    {"last", "N", "the newest points (all)"},
    {"tensorboard", "FOLDER", "write event files for TensorBoard below it, a run a job"},
    {"jsonl", "FILE", "write trainer_log.jsonl, as LLaMA-Factory has it"},
    {"variant", "NAME", "of a job with lists: whose points --jsonl takes"},
    {"follow", NULL, "go on until the job is over"},
};

#define OPTIONS(list) list, COUNT_OF(list)

static const struct command commands[] = {
    {"run", "RECIPE [--workers N] [--threads N]",
     "a recipe on this machine: start a fleet, follow the job, write its results",
     "  qctl run recipe.yml\n"
     "  qctl run recipe.yml --workers 2 --threads 4 --set learning_rate=1e-4\n"
     "  qctl run recipe.yml --data work/demo        # survives Ctrl-C and power loss\n",
     OPTIONS(run_options), 1, 1, cmd_run},
    {"submit", "RECIPE", "give a recipe to a coordinator",
     "  qctl submit recipe.yml\n"
     "  qctl submit recipe.yml --wait\n"
     "  qctl submit recipe.yml --dry-run            # every value and where it comes from\n",
     OPTIONS(submit_options), 1, 1, cmd_submit},
    {"jobs", "[PREFIX]", "list jobs, newest first",
     "  qctl jobs\n  qctl jobs --active\n  qctl jobs -o json\n", OPTIONS(jobs_options), 0, 1,
     cmd_jobs},
    {"show", "[JOB]", "one job: state, inputs, outputs",
     "  qctl show last\n  qctl show 9c4 --recipe\n", OPTIONS(show_options), 0, 1, cmd_show},
    {"graph", "[JOB]", "the stages of a job and what they wait for",
     "  qctl graph last\n  qctl graph last --critical\n  qctl graph last --watch\n"
     "  qctl graph last -o dot | dot -Tsvg > job.svg\n",
     OPTIONS(graph_options), 0, 1, cmd_graph},
    {"explain", "[JOB [STAGE]]", "why jobs wait, and what would let them go on",
     "  qctl explain                                # all that is not over\n"
     "  qctl explain last train\n",
     NULL, 0, 0, 2, cmd_explain},
    {"watch", "[JOB]", "progress, losses, speed and time left; Ctrl-C detaches",
     "  qctl watch last\n  qctl watch 9c4 >> job.log           # a line now and then\n"
     "  qctl watch 9c4 -o json             # every point\n",
     OPTIONS(watch_options), 0, 1, cmd_watch},
    {"top", "", "the fleet at a glance, live: workers, jobs, the curve of one of them",
     "  qctl top\n  qctl top --once --width 100 --height 30\n", OPTIONS(top_options), 0, 0,
     cmd_top},
    {"logs", "[JOB]", "the event log of a job or of the fleet",
     "  qctl logs\n  qctl logs last --follow\n", OPTIONS(logs_options), 0, 1, cmd_logs},
    {"wait", "[JOB]", "wait for a job; exits with its result",
     "  qctl wait last && qctl pull last\n  qctl wait 9c4 --for 10m\n", OPTIONS(wait_options), 0, 1,
     cmd_wait},
    {"cancel", "JOB...", "end jobs", "  qctl cancel last --reason \"wrong data\"\n",
     OPTIONS(reason_options), 1, COMMAND_ARGUMENTS_MAX, cmd_control_cancel},
    {"pause", "JOB...", "take no new work from jobs", "  qctl pause 9c4\n", OPTIONS(reason_options),
     1, COMMAND_ARGUMENTS_MAX, cmd_control_pause},
    {"resume", "JOB...", "let paused jobs go on", "  qctl resume 9c4\n", OPTIONS(reason_options), 1,
     COMMAND_ARGUMENTS_MAX, cmd_control_resume},
    {"retry", "JOB...", "let jobs that failed go on; make damaged results again",
     "  qctl retry last\n", OPTIONS(reason_options), 1, COMMAND_ARGUMENTS_MAX, cmd_control_retry},
    {"forget", "JOB...", "drop jobs that are over, with their results", "  qctl forget 9c4\n",
     OPTIONS(reason_options), 1, COMMAND_ARGUMENTS_MAX, cmd_control_forget},
    {"workers", "", "who computes, on what", "  qctl workers\n  qctl workers -o json\n", NULL, 0, 0,
     0, cmd_workers},
    {"workers list", "", "the same", "  qctl workers list\n", NULL, 0, 0, 0, cmd_workers},
    {"workers drain", "WORKER", "let a worker finish and leave (or `all`)",
     "  qctl workers drain node07 --reason \"new disk\"\n", OPTIONS(reason_options), 1, 1,
     cmd_workers_drain},
    {"workers scale", "N|auto|MIN..MAX [--provider NAME]",
     "so many workers, or as many as there is work for",
     "  qctl workers scale 4\n"
     "  qctl workers scale auto --provider cluster\n"
     "  qctl workers scale 2..40 --provider cluster --dry-run\n",
     OPTIONS(scale_options), 1, 1, cmd_workers_scale},
    {"workers providers", "", "where workers come from, and what keeps them",
     "  qctl workers providers\n  qctl workers providers -o json\n", NULL, 0, 0, 0,
     cmd_workers_providers},
    {"ckpt log", "[JOB]", "checkpoints of a job, newest first", "  qctl ckpt log last\n", NULL, 0,
     0, 1, cmd_ckpt_log},
    {"ckpt show", "[CHECKPOINT]", "one checkpoint: what it goes back to, and who computed it",
     "  qctl ckpt show 77ad10f\n  qctl ckpt show demo@best\n", NULL, 0, 0, 1, cmd_ckpt_show},
    {"ckpt diff", "CHECKPOINT CHECKPOINT", "recipes, data, code, and how far each module moved",
     "  qctl ckpt diff demo@800 demo@latest\n  qctl ckpt diff 77ad10f 9c41e2b --top 5\n",
     OPTIONS(diff_options), 2, 2, cmd_ckpt_diff},
    {"ckpt verify", "[JOB|CHECKPOINT]", "read checkpoints again and compare their hashes",
     "  qctl ckpt verify last\n", NULL, 0, 0, 1, cmd_ckpt_verify},
    {"ckpt tag", "CHECKPOINT NAME", "give a checkpoint a name; what has one is never forgotten",
     "  qctl ckpt tag demo@800 good\n  qctl ckpt tag demo@good good --delete\n",
     OPTIONS(tag_options), 2, 2, cmd_ckpt_tag},
    {"ckpt restore", "JOB CHECKPOINT", "let a job go on from one of its checkpoints",
     "  qctl ckpt restore demo 77ad10f\n  qctl ckpt restore demo best\n", OPTIONS(reason_options),
     2, 2, cmd_ckpt_restore},
    {"ckpt fork", "CHECKPOINT", "a new job that goes on from a checkpoint, with keys changed",
     "  qctl ckpt fork 77ad10f --set learning_rate=5e-5\n", OPTIONS(fork_options), 1, 1,
     cmd_ckpt_fork},
    {"ckpt forget", "JOB|CHECKPOINT", "take checkpoints off the list; latest, best and tagged stay",
     "  qctl ckpt forget demo --keep-last 3 --keep-every 1000 --dry-run\n"
     "  qctl ckpt forget demo --keep-last 3 --prune\n",
     OPTIONS(forget_options), 1, 1, cmd_ckpt_forget},
    {"ckpt prune", "", "free the space of what was forgotten",
     "  qctl ckpt prune --dry-run\n  qctl ckpt prune\n", OPTIONS(prune_options), 0, 0,
     cmd_ckpt_prune},
    {"pull", "JOB [FOLDER]", "fetch the files a job made",
     "  qctl pull last outputs/demo\n  qctl pull last outputs/demo --log\n", OPTIONS(pull_options),
     1, 2, cmd_pull},
    {"export", "JOB FOLDER",
     "a job's result as a folder for a hub: card, recipe, Modelfile, commands",
     "  qctl export last demo --license apache-2.0\n"
     "  qctl export 9c4 demo --base-model HuggingFaceTB/SmolLM2-135M\n"
     "  qctl export 9c4 demo --variant learning_rate=0.0001\n",
     OPTIONS(export_options), 2, 2, cmd_export},
    {"stats", "[JOB] [TENSOR]", "what calibration saw and quantizing cost, the worst tensors first",
     "  qctl stats last\n"
     "  qctl stats last --sort outlier --top 5\n"
     "  qctl stats last blk.4.ffn_down              # one tensor: ranges, histogram, clips\n",
     OPTIONS(stats_options), 0, 2, cmd_stats},
    {"metrics", "[JOB]", "losses, gradient norms, rates and speed; as a table, JSON or for viewers",
     "  qctl metrics last --last 20\n"
     "  qctl metrics last --tensorboard runs --follow\n"
     "  qctl metrics last --jsonl trainer_log.jsonl\n",
     OPTIONS(metrics_options), 0, 1, cmd_metrics},
    {"plot", "[JOB...] [WHAT] [FILE]",
     "curves of jobs in the terminal, or as a picture; errors and calibration of quantized models",
     "  qctl plot last\n"
     "  qctl plot last grad_norm --log\n"
     "  qctl plot 9c4 77a loss losses.svg --smooth 0.9\n"
     "  qctl plot last errors errors.png --by output\n"
     "  qctl plot last calibration input.svg --tensor layers.4.mlp.down_proj\n",
     OPTIONS(plot_options), 0, COMMAND_ARGUMENTS_MAX, cmd_plot},
    {"data check", "RECIPE|FILE", "read data to its end; name every bad row",
     "  qctl data check recipe.yml\n"
     "  qctl data check rows.jsonl --tokenizer models/tiny\n",
     OPTIONS(check_options), 1, 1, cmd_data_check},
    {"inspect", "MODEL|FILE|ADAPTER",
     "what a model or a file of weights is, and what it would need",
     "  qctl inspect models/tiny                    # a folder of Hugging Face\n"
     "  qctl inspect model-Q4_K_M.gguf --tensors\n"
     "  qctl inspect outputs/demo -o json           # an adapter\n",
     OPTIONS(inspect_options), 1, 1, cmd_inspect},
    {"convert", "IN OUT [--type NAME]",
     "a model folder to GGUF, GGUF to a folder or other types, an adapter to GGUF",
     "  qctl convert models/tiny tiny.gguf --type f16\n"
     "  qctl convert models/tiny tiny-q4.gguf --type Q4_K_M --imatrix tiny.imatrix\n"
     "  qctl convert tiny.gguf tiny-q4.gguf --type Q4_K_M\n"
     "  qctl convert tiny.gguf models/tiny-again\n"
     "  qctl convert outputs/demo demo-lora.gguf --base models/tiny\n",
     OPTIONS(convert_options), 2, 2, cmd_convert},
    {"imatrix merge", "FILE... OUT", "add importance matrices up",
     "  qctl imatrix merge code.gguf prose.gguf both.gguf\n"
     "  qctl imatrix merge part-1.dat part-2.dat part-3.dat all.dat\n"
     "  qctl imatrix merge both.gguf both.dat      # one file: another form of it\n",
     OPTIONS(merge_options), 2, COMMAND_ARGUMENTS_MAX, cmd_imatrix_merge},
    {"doctor", "", "what of this machine would get in the way", "  qctl doctor\n", NULL, 0, 0, 0,
     cmd_doctor},
    {"generate", "MODEL [--prompt TEXT]", "let a model go on with a text",
     "  qctl generate models/tiny --prompt \"Once upon a time\"\n"
     "  qctl generate models/tiny --adapter outputs/demo --temperature 0 --prompt \"a = \"\n",
     OPTIONS(generate_options), 1, 1, cmd_generate},
    {"chat", "MODEL", "talk with a model by its chat template",
     "  qctl chat models/tiny-chat --adapter outputs/demo\n", OPTIONS(chat_options), 1, 1,
     cmd_chat},
    {"model create", "FOLDER --config FILE [--tokenizer FOLDER]", "an untrained model of any shape",
     "  qctl model create models/mine --config config.json --tokenizer models/tiny\n",
     OPTIONS(create_options), 1, 1, cmd_model_create},
    {"init", "[DIR] [--host NAME]", "keys, roles and configuration of a fleet, in one folder",
     "  qctl init                                   # /etc/qfleet, or ~/.config/qfleet\n"
     "  qctl init /etc/qfleet --host head.example.org\n"
     "  qctl init try --host localhost --listen 127.0.0.1\n",
     OPTIONS(init_options), 0, 1, cmd_init},
    {"keys create", "FILE [--role ROLE]", "a key pair for TCP, and its line of the key list",
     "  qctl keys create coordinator.key\n"
     "  qctl keys create node07.key --role worker >> keys.list\n",
     OPTIONS(keys_options), 1, 1, cmd_keys_create},
    {"stop", "", "end the fleet: workers retire, the coordinator exits", "  qctl stop\n",
     OPTIONS(reason_options), 0, 0, cmd_control_stop},
    {"help", "[VERB|recipe|exit-codes|json [NAME]]", "this, or more about one of them",
     "  qctl help run\n  qctl help recipe\n  qctl help exit-codes\n"
     "  qctl help json jobs                         # JSON Schema of jobs -o json\n"
     "  qctl help --man | man -l -\n",
     OPTIONS(help_options), 0, 2, commands_help},
    {"completion", "SHELL", "completion of verbs, options, jobs and workers for bash, zsh or fish",
     "  qctl completion bash > ~/.local/share/bash-completion/completions/qctl\n"
     "  qctl completion zsh > ~/.zfunc/_qctl         # a folder of fpath\n"
     "  qctl completion fish > ~/.config/fish/completions/qctl.fish\n",
     NULL, 0, 1, 1, cmd_completion},
};

const struct command *commands_at(size_t index)
{
    return index < COUNT_OF(commands) ? &commands[index] : NULL;
}

const struct command *commands_find(const char *first, const char *second, int *used)
{
    const struct command *found = NULL;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const char *name = commands[i].name;
        const char *space = strchr(name, ' ');
        size_t size = space != NULL ? (size_t)(space - name) : strlen(name);
        if (strlen(first) != size || memcmp(first, name, size) != 0)
            continue;
        if (space == NULL && found == NULL) {
            found = &commands[i];
            *used = 1;
        } else if (space != NULL && second != NULL && strcmp(space + 1, second) == 0) {
            found = &commands[i];
            *used = 2;
        }
    }
    return found;
}

/* The second word of a verb whose first is that, or NULL. */
static const char *word_after(const struct command *command, const char *first)
{
    size_t size = strlen(first);
    bool is_in = strncmp(command->name, first, size) == 0 && command->name[size] == ' ';
    return is_in ? command->name + size + 1 : NULL;
}

static bool is_group_name(const char *first)
{
    bool found = false;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        found = found || word_after(&commands[i], first) != NULL;
    return found;
}

/* "ckpt: say which: log, show or prune". */
static enum err say_which(const char *first, struct err_text *et)
{
    char words[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const char *word = word_after(&commands[i], first);
        if (word != NULL && used < sizeof words)
            used += (size_t)snprintf(words + used, sizeof words - used, "%s %s",
                                     used > 0 ? "," : "", word);
    }
    return error_set(et, ERR_USAGE, "%s: say which:%s; see qctl help %s", first, words, first);
}

enum err commands_fail(const char *first, const char *second, struct err_text *et)
{
    char typed[128];
    struct nearest nearest = {0};
    bool is_group = is_group_name(first);
    if (is_group && (second == NULL || second[0] == '-'))
        return say_which(first, et);
    (void)snprintf(typed, sizeof typed, "%s%s%s", first, is_group && second != NULL ? " " : "",
                   is_group && second != NULL ? second : "");
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        nearest_offer(&nearest, text_of(typed), commands[i].name);
    if (nearest.word != NULL)
        return error_set(et, ERR_USAGE, "%s: unknown verb; did you mean qctl %s?", typed,
                         nearest.word);
    return error_set(et, ERR_USAGE, "%s: unknown verb; see qctl help", typed);
}

static void print_options(FILE *out, const struct command_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char left[64];
        (void)snprintf(left, sizeof left, "--%s%s%s", options[i].name,
                       options[i].argument != NULL ? " " : "",
                       options[i].argument != NULL ? options[i].argument : "");
        (void)fprintf(out, "  %-26s %s\n", left, options[i].help);
    }
}

static void print_verb(FILE *out, const struct command *command)
{
    (void)fprintf(out, "  %-17s  %s\n", command->name, command->summary);
}

static void print_group(FILE *out, const char *first)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (word_after(&commands[i], first) != NULL)
            print_verb(out, &commands[i]);
}

static void print_all(FILE *out)
{
    (void)fprintf(out, "  qctl run recipe.yml                 train or quantize on this machine\n"
                       "  qctl submit recipe.yml --wait       train on a fleet\n"
                       "  qctl help VERB                      more about one verb\n\n"
                       "verbs\n");
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        print_verb(out, &commands[i]);
    size_t count;
    const struct command_option *options = command_global_options(&count);
    (void)fprintf(out, "\noptions of every verb\n");
    print_options(out, options, count);
    (void)fprintf(out, "\nJobs are named by a prefix of their id, by name, or `last`.\n");
}

void commands_print_help(const struct command *command, FILE *out)
{
    if (command == NULL) {
        print_all(out);
        return;
    }
    (void)fprintf(out, "%s\nqctl %s%s%s\n\n%s.\n", command->examples, command->name,
                  command->usage[0] != '\0' ? " " : "", command->usage, command->summary);
    if (command->option_count > 0)
        (void)fprintf(out, "\noptions\n");
    print_options(out, command->options, command->option_count);
    if (is_group_name(command->name))
        (void)fprintf(out, "\nverbs\n");
    print_group(out, command->name);
    (void)fprintf(out, "\nqctl help lists the options of every verb.\n");
}

static const struct {
    const char *code, *meaning;
} exit_codes[] = {
    {"0", "ok"},
    {"1", "the job or the command failed"},
    {"2", "the command line is wrong"},
    {"3", "the recipe, the data or a model is invalid"},
    {"4", "not found"},
    {"5", "cannot be placed on any worker"},
    {"6", "timed out"},
    {"7", "the coordinator, or a provider of workers, cannot be reached"},
    {"8", "integrity: a hash or a profile does not match"},
    {"128+n", "ended by signal n"},
};

const char *commands_exit_code(size_t index, const char **meaning)
{
    if (index >= COUNT_OF(exit_codes))
        return NULL;
    *meaning = exit_codes[index].meaning;
    return exit_codes[index].code;
}

static void print_exit_codes(FILE *out)
{
    for (size_t i = 0; i < COUNT_OF(exit_codes); i++)
        (void)fprintf(out, "%*s  %s\n", i + 1 == COUNT_OF(exit_codes) ? 6 : 4, exit_codes[i].code,
                      exit_codes[i].meaning);
    (void)fprintf(out, "\nerrors by name\n");
    for (unsigned i = ERR_OK + 1; i < ERR_COUNT; i++)
        (void)fprintf(out, "  %d  %-14s %s\n", error_exit_code((enum err)i),
                      error_name((enum err)i), error_text((enum err)i));
}

static void print_key(FILE *out, const char *indent, const char *name, const char *preset,
                      const char *help)
{
    (void)fprintf(out, "%s%-*s %-8s %s\n", indent, 28 - (int)strlen(indent), name,
                  preset[0] != '\0' ? preset : "-", help);
}

/* What datasets hold is told once; the other lists of them hold the same. */
static void print_recipe_keys(FILE *out)
{
    (void)fprintf(out, "%-28s %-8s %s\n", "KEY", "DEFAULT", "MEANING");
    for (unsigned i = 0; i < RECIPE_KEY_COUNT; i++) {
        enum recipe_key key = (enum recipe_key)i;
        bool is_told = key == RECIPE_KEY_calibration_datasets || key == RECIPE_KEY_test_datasets;
        struct recipe_inner_key inner;
        print_key(out, "", recipe_key_name(key), recipe_key_default(key), recipe_key_help(key));
        for (size_t k = 0; !is_told && recipe_key_inner(key, k, &inner); k++)
            print_key(out, "  ", inner.name, inner.preset, inner.help);
    }
}

enum err commands_help(struct invocation *invocation, struct err_text *et)
{
    FILE *out = invocation->out;
    const char *first = invocation->argument_count > 0 ? invocation->arguments[0] : NULL;
    const char *second = invocation->argument_count > 1 ? invocation->arguments[1] : NULL;
    int used = 0;
    if (command_flag(invocation, "man")) {
        return manual_print(first, out, et);
    } else if (first == NULL) {
        commands_print_help(NULL, out);
    } else if (strcmp(first, "exit-codes") == 0) {
        print_exit_codes(out);
    } else if (strcmp(first, "json") == 0) {
        return output_schema_print(invocation, second, et);
    } else if (strcmp(first, "recipe") == 0) {
        print_recipe_keys(out);
    } else {
        const struct command *command = commands_find(first, second, &used);
        if (command != NULL)
            commands_print_help(command, out);
        else if (second == NULL && is_group_name(first))
            print_group(out, first);
        else
            return commands_fail(first, second, et);
    }
    return ERR_OK;
}
