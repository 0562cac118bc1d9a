/* The table of options, nothing else; that of commands is commands.c. Order: by how often one needs them; help, man page and completion keep it. */
#include "options.h"

#define BIT(command) (1u << (command))
#define MEASURES (BIT(CMD_BENCH) | BIT(CMD_TUNE)) /* with or without a checkpoint */
#define ENGINE (BIT(CMD_LOGITS) | MEASURES | BIT(CMD_RUN) | BIT(CMD_CHAT) | BIT(CMD_PERPLEXITY))
#define PLACES (BIT(CMD_PLAN) | BIT(CMD_ESTIMATE))
#define SHAPED (MEASURES | PLACES)
#define SAMPLES (BIT(CMD_RUN) | BIT(CMD_CHAT))
#define WORDS (BIT(CMD_TOKENIZE) | BIT(CMD_DETOKENIZE) | BIT(CMD_CHAT_ENCODE))
#define ALL (BIT(N_COMMANDS) - 1)

static const char *const caches[] = {"packed", "exact", 0}, *const thinkings[] = {"off", "high", "max", 0}, *const formats[] = {"md", "csv", "json", 0};
static const char *const shapes[] = {"v4-flash", "v4-pro", 0};

#define MANY 2147483647.0 /* tokens */

const cli_option cli_options[N_OPTIONS] = {
  [OPT_MODEL] = {{"-m", "--model"}, CLI_MODEL, "MODEL", .commands = ALL & ~(BIT(CMD_DEVICES) | BIT(CMD_VERIFY)),
                 .required = WORDS | (ENGINE & ~MEASURES), .help = "checkpoint folder (config.json, *.safetensors, tokenizer.json), or a GGUF file: of a split one its first part"},
  [OPT_TOKENS] = {{"--tokens"}, CLI_FILE, "FILE", .commands = BIT(CMD_LOGITS), .required = BIT(CMD_LOGITS), .help = "token ids, raw little-endian int32"},
  [OPT_OUTPUT] = {{"-o", "--output"}, CLI_FILE, "FILE", .commands = BIT(CMD_LOGITS), .required = BIT(CMD_LOGITS),
                  .help = "where the logits go; - is standard output"},
  [OPT_PROMPT] = {{"-p", "--prompt"}, CLI_TEXT, "TEXT", .commands = BIT(CMD_RUN), .help = "the prompt, in place of the operand"},
  [OPT_FILE] = {{"-f", "--file"}, CLI_FILE, "FILE", .commands = BIT(CMD_RUN) | WORDS | BIT(CMD_PERPLEXITY), .required = BIT(CMD_PERPLEXITY),
                .help = "read the input from FILE; - is standard input"},
  [OPT_SYSTEM] = {{"-sys", "--system-prompt"}, CLI_TEXT, "TEXT", .commands = BIT(CMD_CHAT), .help = "system message of the conversation"},
  [OPT_N_PREDICT] = {{"-n", "--n-predict"}, CLI_INT, "N", -1, MANY, .fallback = "-1", .commands = SAMPLES,
                     .help = "most new tokens of an answer; -1: up to the context; 0 (run only): the prompt is evaluated, no more"},
  [OPT_CTX] = {{"-c", "--ctx-size"}, CLI_INT, "N", 0, MANY, .fallback = "0", .commands = SAMPLES | BIT(CMD_PERPLEXITY) | PLACES,
               .help = "context in tokens; 0: 4096, or the checkpoint's where that is less"},
  [OPT_CONTEXTS] = {{"-c", "--ctx-size"}, CLI_INTS, "N,...", 1, MANY, .commands = BIT(CMD_INFO), .help = "context lengths to give cache bytes for"},
  [OPT_CHUNK] = {{"-ub", "--ubatch-size", "--chunk"}, CLI_INT, "N", 1, 65536, .commands = ENGINE | PLACES,
                 .help = "most tokens evaluated at once (512 unless said); 1 is decode token by token"},
  [OPT_CACHE] = {{"--cache"}, CLI_CHOICE, "MODE", .choices = caches, .fallback = "packed", .commands = (ENGINE & ~BIT(CMD_TUNE)) | PLACES,
                 .help = "cache rows in FP8/FP4 as the published model has them, or in fp32 without rounding"},
  [OPT_DEVICE] = {{"--device"}, CLI_TEXT, "NAME", .commands = ENGINE | BIT(CMD_VERIFY), .help = "an id of koine devices, or a part of a name; else the best"},
  [OPT_LAYERS] = {{"--layers"}, CLI_TEXTS, "DEVICE=FIRST-LAST", .commands = (ENGINE & ~BIT(CMD_TUNE)) | PLACES,
                  .help = "these layers on this device, cl1=22- to the last; several times, until every layer has one"},
  [OPT_EXPERTS_ON] = {{"--experts-on"}, CLI_TEXTS, "DEVICE[=FIRST-LAST]", .commands = ENGINE & ~BIT(CMD_TUNE),
                      .help = "routed experts of all layers, or of these, on this device; attention and the rest stay where they are. May be given several times"},
  [OPT_SUBDEVICES] = {{"--subdevices"}, CLI_TEXTS, "DEVICE=N,N,...", .commands = ENGINE | PLACES | BIT(CMD_VERIFY) | BIT(CMD_DEVICES),
                      .help = "make devices of N compute units each of one: cl0=1,1 makes cl0/0 and cl0/1. May be given several times"},
  [OPT_THREADS] = {{"-t", "--threads"}, CLI_INT, "N", 1, 4096, .commands = ENGINE | BIT(CMD_VERIFY),
                   .help = "processors that devices on the CPU may use; else what the driver takes, usually all"},
  [OPT_SEED] = {{"-s", "--seed"}, CLI_INT, "N", -1, 9007199254740992.0, .fallback = "-1", .commands = SAMPLES, .help = "of the random choices; -1: another each time"},
  [OPT_TEMP] = {{"--temp"}, CLI_FLOAT, "X", 0, 100, .fallback = "0.8", .commands = SAMPLES, .help = "temperature; 0 always takes the likeliest token"},
  [OPT_TOP_K] = {{"--top-k"}, CLI_INT, "N", 0, MANY, .fallback = "40", .commands = SAMPLES, .help = "choose among the N likeliest; 0: off"},
  [OPT_TOP_P] = {{"--top-p"}, CLI_FLOAT, "X", 0, 1, .fallback = "0.95", .commands = SAMPLES, .help = "choose among the likeliest that have this share; 1: off"},
  [OPT_MIN_P] = {{"--min-p"}, CLI_FLOAT, "X", 0, 1, .fallback = "0.05", .commands = SAMPLES, .help = "leave out what is less likely than X times the likeliest; 0: off"},
  [OPT_REPEAT_PENALTY] = {{"--repeat-penalty"}, CLI_FLOAT, "X", 0.01, 100, .fallback = "1", .commands = SAMPLES, .help = "divide the logits of what came before; 1: off"},
  [OPT_PRESENCE_PENALTY] = {{"--presence-penalty"}, CLI_FLOAT, "X", -100, 100, .fallback = "0", .commands = SAMPLES, .help = "take X off the logits of what came before"},
  [OPT_FREQUENCY_PENALTY] = {{"--frequency-penalty"}, CLI_FLOAT, "X", -100, 100, .fallback = "0", .commands = SAMPLES, .help = "the same, for each time it came"},
  [OPT_STOP] = {{"--stop"}, CLI_TEXTS, "TEXT", .commands = SAMPLES, .help = "end the answer before this text; may be given several times"},
  [OPT_JSON_SCHEMA] = {{"-jf", "--json-schema", "--json-schema-file"}, CLI_FILE, "FILE", .commands = BIT(CMD_RUN), .help = "the answer is a JSON value that the JSON Schema in FILE allows"},
  [OPT_THINK] = {{"--think"}, CLI_CHOICE, "MODE", .choices = thinkings, .fallback = "off", .commands = BIT(CMD_CHAT) | BIT(CMD_CHAT_ENCODE), .help = "reasoning before the answer"},
  [OPT_IDS] = {{"--ids"}, CLI_FLAG, .commands = BIT(CMD_TOKENIZE) | BIT(CMD_CHAT_ENCODE), .help = "print ids, separated by spaces; tokenize always does"},
  [OPT_SPECIAL] = {{"--special"}, CLI_FLAG, .commands = BIT(CMD_TOKENIZE) | BIT(CMD_DETOKENIZE) | BIT(CMD_RUN),
                   .help = "control tokens: read them in text, write them as text"},
  [OPT_SEGMENT] = {{"--segment"}, CLI_INT, "N", 2, MANY, .fallback = "256", .commands = BIT(CMD_PERPLEXITY), .help = "tokens of a segment"},
  [OPT_SHAPE] = {{"--shape"}, CLI_CHOICE, "NAME", .choices = shapes, .commands = SHAPED, .help = "random weights of a published model's sizes, without any file"},
  [OPT_RATIOS] = {{"--ratios"}, CLI_INTS, "N,...", 0, 1048576, .commands = SHAPED, .help = "with --shape: compress ratio of each layer, and so how many layers"},
  [OPT_EXPERTS] = {{"--experts"}, CLI_INT, "N", 1, 65536, .commands = SHAPED, .help = "with --shape: experts of a layer"},
  [OPT_VOCAB] = {{"--vocab"}, CLI_INT, "N", 1, 16777216, .commands = SHAPED, .help = "with --shape: size of the vocabulary"},
  [OPT_N_PROMPT] = {{"-p", "--n-prompt"}, CLI_INTS, "N,...", 0, 16777216, .fallback = "512", .commands = BIT(CMD_BENCH), .help = "prefill tests, tokens each; 0: none"},
  [OPT_N_GEN] = {{"-n", "--n-gen"}, CLI_INTS, "N,...", 0, 16777216, .fallback = "32", .commands = BIT(CMD_BENCH), .help = "decode tests, tokens each; 0: none"},
  [OPT_DEPTHS] = {{"-d", "--n-depth"}, CLI_INTS, "N,...", 0, MANY, .fallback = "0", .commands = BIT(CMD_BENCH), .help = "tokens in the caches before a test"},
  [OPT_FILL] = {{"--fill"}, CLI_FLAG, .commands = BIT(CMD_BENCH), .help = "fill the caches with random rows instead of a real prefill"},
  [OPT_OPS] = {{"--ops"}, CLI_FLAG, .commands = BIT(CMD_BENCH), .help = "time by op as well"},
  [OPT_GEMM] = {{"--gemm"}, CLI_FLAG, .commands = BIT(CMD_BENCH), .help = "measure the own kernels for dense products in prefill against CLBlast; later runs on this device and driver take the faster"},
  [OPT_REPETITIONS] = {{"-r", "--repetitions"}, CLI_INT, "N", 1, 1000, .fallback = "3", .commands = BIT(CMD_BENCH), .help = "how often a test is repeated"},
  [OPT_FORMAT] = {{"-o", "--output"}, CLI_CHOICE, "FORMAT", .choices = formats, .fallback = "md", .commands = BIT(CMD_BENCH), .help = "of the result"},
  [OPT_BUDGET] = {{"--budget"}, CLI_INT, "SECONDS", 5, 86400, .fallback = "60", .commands = BIT(CMD_TUNE), .help = "about how long to tune"},
  [OPT_LIST] = {{"--list"}, CLI_FLAG, .commands = BIT(CMD_TUNE), .help = "measure nothing: print what is known of every device, or that of --device"},
  [OPT_WHY] = {{"--why"}, CLI_TEXT, "OP", .commands = BIT(CMD_TUNE), .help = "measure nothing: print what each rung of the ladder says of OP, and why it is taken or not"},
  [OPT_EXPORT] = {{"--export"}, CLI_FILE, "FILE", .commands = BIT(CMD_TUNE), .help = "measure nothing: write the results that hold, of all devices or of --device, to FILE; - is standard output"},
  [OPT_IMPORT] = {{"--import"}, CLI_FILE, "FILE", .commands = BIT(CMD_TUNE), .help = "measure nothing: add the results in FILE to the log; - is standard input"},
  [OPT_REPORT] = {{"--report"}, CLI_FILE, "FILE", .commands = BIT(CMD_TUNE), .help = "write a page of HTML about the device's measurements, after tuning or, without -m and --shape, of what is there"},
  [OPT_NO_TUNE] = {{"--no-tune"}, CLI_FLAG, .commands = (ENGINE & ~BIT(CMD_TUNE)) | BIT(CMD_VERIFY), .help = "default parameters for every kernel, whatever koine tune found"},
  [OPT_MACHINE] = {{"--machine"}, CLI_FILE, "FILE", .commands = PLACES, .help = "plan for the machine that koine devices --save wrote, in place of this one"},
  [OPT_MEASURE] = {{"--measure"}, CLI_FLAG, .commands = PLACES, .help = "first run layers in real sizes with random weights on devices whose costs are not known, about a minute; kept in the cache folder"},
  [OPT_STREAMS] = {{"-np", "--parallel"}, CLI_INT, "N", 0, 65536, .fallback = "1", .commands = PLACES,
                   .help = "conversations that take turns: 1 is the quickest for one, 0 the most tokens a second of many"},
  [OPT_EXCLUDE] = {{"--exclude"}, CLI_TEXTS, "DEVICE", .commands = PLACES, .help = "nothing on this device; may be given several times"},
  [OPT_MEMORY] = {{"--memory"}, CLI_TEXTS, "DEVICE=BYTES", .commands = PLACES, .help = "most bytes to use on this device; may be given several times"},
  [OPT_SHARES] = {{"-ts", "--tensor-split"}, CLI_INTS, "N,...", 0, 1000000, .commands = PLACES, .help = "layers in these proportions, on the devices in their order"},
  [OPT_ON_CARDS] = {{"-ngl", "--gpu-layers"}, CLI_INT, "N", 0, 65536, .commands = PLACES, .help = "N layers from the end, the head as one, not on processors; the others there"},
  [OPT_CPU_MOE] = {{"--cpu-moe"}, CLI_FLAG, .commands = PLACES, .help = "routed experts of all layers on the processors"},
  [OPT_N_CPU_MOE] = {{"--n-cpu-moe"}, CLI_INT, "N", 0, 65536, .commands = PLACES, .help = "routed experts of the first N layers on the processors"},
  [OPT_PLACEMENT] = {{"--placement"}, CLI_FILE, "FILE", .commands = PLACES, .help = "what the plan in FILE takes, as koine plan prints one; nothing is searched"},
  [OPT_SVG] = {{"--svg"}, CLI_FILE, "FILE", .commands = BIT(CMD_PLAN), .help = "the plan as a picture too: devices, layers, bytes, and a token's way in time"},
  [OPT_PROBE] = {{"--probe"}, CLI_FLAG, .commands = BIT(CMD_DEVICES), .help = "measure links and speeds, print them as a table, and keep them for plans"},
  [OPT_SAVE] = {{"--save"}, CLI_FILE, "FILE", .commands = BIT(CMD_DEVICES), .help = "write the machine, with all that was measured, for koine plan --machine"},
  [OPT_TOPOLOGY] = {{"--topology"}, CLI_FILE, "FILE", .commands = BIT(CMD_DEVICES), .help = "show a machine recorded by hwloc (XML) in place of this one"},
  [OPT_JSON] = {{"--json"}, CLI_FLAG, .commands = BIT(CMD_INFO) | BIT(CMD_DEVICES) | BIT(CMD_PERPLEXITY) | BIT(CMD_TUNE), .help = "JSON instead of text; of tune for --list and --why"},
  [OPT_VERBOSE] = {{"-v", "--verbose"}, CLI_FLAG, .commands = ALL, .help = "notes on standard error, not only warnings"},
  [OPT_HELP] = {{"-h", "--help"}, CLI_FLAG, .commands = ALL, .help = "this text"},
};
