/* The table of commands and options, nothing else. Order: by how often one needs them; help, man page and completion keep it. */
#include "options.h"
#include <limits.h>

#define BIT(command) (1u << (command))
#define MEASURES (BIT(CMD_BENCH) | BIT(CMD_TUNE)) /* with or without a checkpoint */
#define ENGINE (BIT(CMD_LOGITS) | MEASURES | BIT(CMD_RUN) | BIT(CMD_CHAT) | BIT(CMD_PERPLEXITY))
#define SAMPLES (BIT(CMD_RUN) | BIT(CMD_CHAT))
#define WORDS (BIT(CMD_TOKENIZE) | BIT(CMD_DETOKENIZE) | BIT(CMD_CHAT_ENCODE))
#define ALL (BIT(N_COMMANDS) - 1)

static const char *const caches[] = {"packed", "exact", 0}, *const thinkings[] = {"off", "high", "max", 0}, *const formats[] = {"md", "csv", "json", 0};
static const char *const shapes[] = {"v4-flash", "v4-pro", 0};

#define MANY 2147483647.0 /* tokens */

const cli_command cli_commands[N_COMMANDS] = {
  [CMD_INFO] = {"info", "[MODEL]", 1, "describe a checkpoint",
                "Prints the architecture, parameters (total and active for a token), bytes by precision and role, scratch, and cache bytes at context "
                "lengths. A folder with only config.json (and an index) is enough."},
  [CMD_DEVICES] = {"devices", "", 0, "list the machine's cards, how to reach them, and what was skipped",
                   "Prints the machine as a tree with every card: its vendor, name, endpoints, link, memory and abilities, and why a device or platform "
                   "was skipped. The first column of an endpoint is what --device takes."},
  [CMD_LOGITS] = {"logits", "", 0, "evaluate token ids and write all logits",
                  "Reads tokens as raw little-endian int32 and writes the logits of every position as raw float32, [tokens][vocabulary]."},
  [CMD_VERIFY] = {"verify", "", 0, "check a device against the C reference",
                  "Runs every op on the device and in plain C on awkward shapes, then a small model whose answer is known. Worth running after a driver "
                  "update. Ends with status 1 and the names of op and driver when something differs."},
  [CMD_BENCH] = {"bench", "", 0, "measure prefill and decode",
                 "Measures tokens a second of prefill (pp) and decode (tg), at context depths, beside a read probe of the same minutes. Takes a checkpoint "
                 "(-m) or made-up weights of a published shape (--shape)."},
  [CMD_TUNE] = {"tune", "", 0, "find faster kernel parameters for a device and keep them",
                "Times parameters of every kernel that matters, on the device's own weights and as a conversation calls them, checks the fastest against the C "
                "reference, and keeps in the cache folder (tuned.log) what beats the default by more than the noise. Later runs on the device use it. Takes a "
                "checkpoint (-m) or made-up weights of a published shape (--shape). Ends with tokens a second before and after."},
  [CMD_RUN] = {"run", "[PROMPT]", 1, "continue a text",
               "Completes PROMPT, the text of -f, or standard input, after the checkpoint's beginning-of-text token. What is generated goes to "
               "standard output, progress and statistics to standard error. Ctrl-C ends the text and the program, with status 130."},
  [CMD_CHAT] = {"chat", "", 0, "talk to the model",
                "A conversation as the checkpoint's encoding prescribes. Lines that begin with / are commands: /help lists them. Ctrl-C stops the answer. "
                "What is pasted stays one message, and a line that ends in \\ goes on in the next. "
                "Without a terminal each line of standard input is a message, answers alone go to standard output, and the first failure ends the program. "
                "What was typed on a terminal is kept in $XDG_STATE_HOME/koine/history."},
  [CMD_TOKENIZE] = {"tokenize", "[TEXT]", 1, "text to token ids", "Prints the ids of TEXT, of the file of -f, or of standard input."},
  [CMD_DETOKENIZE] = {"detokenize", "[ID...]", INT_MAX, "token ids to text", "Prints the bytes of the ids given, of the file of -f, or of standard input; control tokens only with --special."},
  [CMD_CHAT_ENCODE] = {"chat-encode", "", 0, "messages to the prompt that the checkpoint prescribes",
                       "Reads a JSON array of messages, or an object with messages and tools, from -f or standard input and prints the prompt or its ids."},
  [CMD_PERPLEXITY] = {"perplexity", "", 0, "bits per byte of a text under the model",
                      "Cuts the text of -f into segments, each after a beginning-of-text token, and prints bits per byte and nats per token. With --kl it "
                      "prints instead how far the model's choices are from another model's: the Kullback-Leibler divergence of each token (mean, median, "
                      "99 %, most), how often the likeliest token is the same, and bits per byte of both."},
  [CMD_QUANTIZE] = {"quantize", "", 0, "write a checkpoint as a GGUF file in other formats",
                    "Writes the checkpoint of -m, a folder or a GGUF file, as one GGUF file that llama.cpp reads too, with its tokenizer. --type has llama.cpp's "
                    "names of mixes and stores what they store, but for hyper-connections and the compressors' ape, which stay F32: F32, F16, BF16, Q8_0, "
                    "MXFP4_MOE, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, IQ2_XXS, IQ2_XS, IQ2_S, "
                    "IQ2_M, IQ3_XXS, IQ3_XS, IQ3_S, IQ3_M, IQ4_NL, IQ4_XS. A tensor whose rows a format's block does not divide is refused by name, unless "
                    "--fallback says what to store instead. The file appears when it is whole; Ctrl-C leaves nothing."},
};

const cli_option cli_options[N_OPTIONS] = {
  [OPT_MODEL] = {{"-m", "--model"}, CLI_MODEL, "MODEL", .commands = ALL & ~(BIT(CMD_DEVICES) | BIT(CMD_VERIFY)),
                 .required = WORDS | (ENGINE & ~MEASURES) | BIT(CMD_QUANTIZE), .help = "checkpoint folder (config.json, *.safetensors, tokenizer.json), or a GGUF file: of a split one its first part"},
  [OPT_TOKENS] = {{"--tokens"}, CLI_FILE, "FILE", .commands = BIT(CMD_LOGITS), .required = BIT(CMD_LOGITS), .help = "token ids, raw little-endian int32"},
  [OPT_OUTPUT] = {{"-o", "--output"}, CLI_FILE, "FILE", .commands = BIT(CMD_LOGITS) | BIT(CMD_QUANTIZE), .required = BIT(CMD_LOGITS) | BIT(CMD_QUANTIZE),
                  .help = "where the result goes; of logits - is standard output"},
  [OPT_PROMPT] = {{"-p", "--prompt"}, CLI_TEXT, "TEXT", .commands = BIT(CMD_RUN), .help = "the prompt, in place of the operand"},
  [OPT_FILE] = {{"-f", "--file"}, CLI_FILE, "FILE", .commands = BIT(CMD_RUN) | WORDS | BIT(CMD_PERPLEXITY), .required = BIT(CMD_PERPLEXITY),
                .help = "read the input from FILE; - is standard input"},
  [OPT_SYSTEM] = {{"-sys", "--system-prompt"}, CLI_TEXT, "TEXT", .commands = BIT(CMD_CHAT), .help = "system message of the conversation"},
  [OPT_N_PREDICT] = {{"-n", "--n-predict"}, CLI_INT, "N", -1, MANY, .fallback = "-1", .commands = SAMPLES,
                     .help = "most new tokens of an answer; -1: up to the context; 0 (run only): the prompt is evaluated, no more"},
  [OPT_CTX] = {{"-c", "--ctx-size"}, CLI_INT, "N", 0, MANY, .fallback = "0", .commands = SAMPLES | BIT(CMD_PERPLEXITY),
               .help = "context in tokens; 0: 4096, or the checkpoint's where that is less"},
  [OPT_CONTEXTS] = {{"-c", "--ctx-size"}, CLI_INTS, "N,...", 1, MANY, .commands = BIT(CMD_INFO), .help = "context lengths to give cache bytes for"},
  [OPT_CHUNK] = {{"-ub", "--ubatch-size", "--chunk"}, CLI_INT, "N", 1, 65536, .commands = ENGINE | BIT(CMD_QUANTIZE),
                 .help = "most tokens evaluated at once (512 unless said); 1 is decode token by token"},
  [OPT_CACHE] = {{"--cache"}, CLI_CHOICE, "MODE", .choices = caches, .fallback = "packed", .commands = (ENGINE & ~BIT(CMD_TUNE)) | BIT(CMD_QUANTIZE),
                 .help = "cache rows in FP8/FP4 as the published model has them, or in fp32 without rounding"},
  [OPT_DEVICE] = {{"--device"}, CLI_TEXT, "NAME", .commands = ENGINE | BIT(CMD_VERIFY) | BIT(CMD_QUANTIZE), .help = "an id of koine devices, or a part of a name; else the best"},
  [OPT_THREADS] = {{"-t", "--threads"}, CLI_INT, "N", 1, 4096, .commands = ENGINE | BIT(CMD_VERIFY) | BIT(CMD_QUANTIZE),
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
  [OPT_THINK] = {{"--think"}, CLI_CHOICE, "MODE", .choices = thinkings, .fallback = "off", .commands = BIT(CMD_CHAT) | BIT(CMD_CHAT_ENCODE), .help = "reasoning before the answer"},
  [OPT_IDS] = {{"--ids"}, CLI_FLAG, .commands = BIT(CMD_TOKENIZE) | BIT(CMD_CHAT_ENCODE), .help = "print ids, separated by spaces; tokenize always does"},
  [OPT_SPECIAL] = {{"--special"}, CLI_FLAG, .commands = BIT(CMD_TOKENIZE) | BIT(CMD_DETOKENIZE) | BIT(CMD_RUN),
                   .help = "control tokens: read them in text, write them as text"},
  [OPT_SEGMENT] = {{"--segment"}, CLI_INT, "N", 2, MANY, .fallback = "256", .commands = BIT(CMD_PERPLEXITY) | BIT(CMD_QUANTIZE), .help = "tokens of a segment"},
  [OPT_KL] = {{"--kl"}, CLI_MODEL, "BASE", .commands = BIT(CMD_PERPLEXITY), .help = "compare with this model, or with the logits that --save-logits kept of one"},
  [OPT_SAVE_LOGITS] = {{"--save-logits"}, CLI_FILE, "FILE", .commands = BIT(CMD_PERPLEXITY),
                       .help = "keep the logits of every token, raw float32, for --kl of another run with the same text and segments"},
  [OPT_TYPE] = {{"--type"}, CLI_TEXT, "TYPE", .commands = BIT(CMD_QUANTIZE), .required = BIT(CMD_QUANTIZE), .help = "a mix by llama.cpp's name: Q8_0, Q4_K_M, IQ2_XXS, MXFP4_MOE, F16, ..."},
  [OPT_IMATRIX] = {{"--imatrix"}, CLI_FILE, "FILE", .commands = BIT(CMD_QUANTIZE),
                   .help = "a text that the model is run over to measure which columns count, or an importance matrix in llama.cpp's GGUF form"},
  [OPT_SAVE_IMATRIX] = {{"--save-imatrix"}, CLI_FILE, "FILE", .commands = BIT(CMD_QUANTIZE), .help = "keep what --imatrix measured, in that form"},
  [OPT_FALLBACK] = {{"--fallback"}, CLI_TEXT, "TYPE", .commands = BIT(CMD_QUANTIZE),
                    .help = "what tensors are stored in whose rows do not fit, a line for each: a format, or usual for llama.cpp's choice"},
  [OPT_SHAPE] = {{"--shape"}, CLI_CHOICE, "NAME", .choices = shapes, .commands = MEASURES, .help = "random weights of a published model's sizes, without any file"},
  [OPT_RATIOS] = {{"--ratios"}, CLI_INTS, "N,...", 0, 1048576, .commands = MEASURES, .help = "with --shape: compress ratio of each layer, and so how many layers"},
  [OPT_EXPERTS] = {{"--experts"}, CLI_INT, "N", 1, 65536, .commands = MEASURES, .help = "with --shape: experts of a layer"},
  [OPT_VOCAB] = {{"--vocab"}, CLI_INT, "N", 1, 16777216, .commands = MEASURES, .help = "with --shape: size of the vocabulary"},
  [OPT_N_PROMPT] = {{"-p", "--n-prompt"}, CLI_INTS, "N,...", 0, 16777216, .fallback = "512", .commands = BIT(CMD_BENCH), .help = "prefill tests, tokens each; 0: none"},
  [OPT_N_GEN] = {{"-n", "--n-gen"}, CLI_INTS, "N,...", 0, 16777216, .fallback = "32", .commands = BIT(CMD_BENCH), .help = "decode tests, tokens each; 0: none"},
  [OPT_DEPTHS] = {{"-d", "--n-depth"}, CLI_INTS, "N,...", 0, MANY, .fallback = "0", .commands = BIT(CMD_BENCH), .help = "tokens in the caches before a test"},
  [OPT_FILL] = {{"--fill"}, CLI_FLAG, .commands = BIT(CMD_BENCH), .help = "fill the caches with random rows instead of a real prefill"},
  [OPT_OPS] = {{"--ops"}, CLI_FLAG, .commands = BIT(CMD_BENCH), .help = "time by op as well"},
  [OPT_GEMM] = {{"--gemm"}, CLI_FLAG, .commands = BIT(CMD_BENCH), .help = "measure the own kernels for dense products in prefill against CLBlast; later runs on this device and driver take the faster"},
  [OPT_REPETITIONS] = {{"-r", "--repetitions"}, CLI_INT, "N", 1, 1000, .fallback = "3", .commands = BIT(CMD_BENCH), .help = "how often a test is repeated"},
  [OPT_FORMAT] = {{"-o", "--output"}, CLI_CHOICE, "FORMAT", .choices = formats, .fallback = "md", .commands = BIT(CMD_BENCH), .help = "of the result"},
  [OPT_BUDGET] = {{"--budget"}, CLI_INT, "SECONDS", 5, 86400, .fallback = "60", .commands = BIT(CMD_TUNE), .help = "about how long to tune"},
  [OPT_NO_TUNE] = {{"--no-tune"}, CLI_FLAG, .commands = (ENGINE & ~BIT(CMD_TUNE)) | BIT(CMD_VERIFY), .help = "default parameters for every kernel, whatever koine tune found"},
  [OPT_TOPOLOGY] = {{"--topology"}, CLI_FILE, "FILE", .commands = BIT(CMD_DEVICES), .help = "show a machine recorded by hwloc (XML) in place of this one"},
  [OPT_JSON] = {{"--json"}, CLI_FLAG, .commands = BIT(CMD_INFO) | BIT(CMD_DEVICES) | BIT(CMD_PERPLEXITY), .help = "JSON instead of text"},
  [OPT_VERBOSE] = {{"-v", "--verbose"}, CLI_FLAG, .commands = ALL, .help = "notes on standard error, not only warnings"},
  [OPT_HELP] = {{"-h", "--help"}, CLI_FLAG, .commands = ALL, .help = "this text"},
};
