/* The table of commands, nothing else; that of options is options.c. Order: by how often one needs them; help, man page and completion keep it. */
#include "options.h"
#include <limits.h>

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
                "checkpoint (-m) or made-up weights of a published shape (--shape). Ends with tokens a second before and after. "
                "--list, --why, --export, --import, and --report without a model, show and share what was found."},
  [CMD_PLAN] = {"plan", "", 0, "which device should have which layers",
                "Finds the best placement of a model's layers, embedding, head and routed experts on a machine's devices under their memory, by measured costs where there "
                "are any, and prints it with what it will take. Takes a checkpoint (-m), of which the config is enough, or a published shape (--shape)."},
  [CMD_ESTIMATE] = {"estimate", "", 0, "how fast a model would run, without its weights",
                    "The best placement's tokens a second, with the range that is likely, from layers in real sizes with random weights: those that were never "
                    "timed on this machine are timed first, which takes about a minute."},
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
  [CMD_SERVE] = {"serve", "", 0, "answer clients of OpenAI's and Anthropic's protocols over HTTP",
                 "Serves the model to editors, agents, programs and browsers: /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /v1/models, "
                 "/tokenize, /detokenize, /health, /metrics and /plan, and at / a page to talk to it. Several answers are made at once, and what a conversation has in common with an earlier one is "
                 "not evaluated again. SIGTERM and Ctrl-C let the answers that are being made end (--grace); a second one ends the server at once."},
  [CMD_LOAD] = {"load-test", "URL...", 8, "measure endpoints of OpenAI's protocol under load",
                "Sends chats to each URL, several at once, and tells tokens a second, the time to the first token and between tokens, failures by kind, and from "
                "/metrics, where there is one, memory and what was reused of prompts. Any server of OpenAI's protocol will do; several URLs are given the same prompts, "
                "level by level in turns. Ctrl-C ends the test with what there is. Ends with status 1 when a request failed."},
  [CMD_QUANTIZE] = {"quantize", "", 0, "write a checkpoint as a GGUF file in other formats",
                    "Writes the checkpoint of -m, a folder or a GGUF file, as one GGUF file that llama.cpp reads too, with its tokenizer. --type has llama.cpp's "
                    "names of mixes and stores what they store, but for hyper-connections and the compressors' ape, which stay F32: F32, F16, BF16, Q8_0, "
                    "MXFP4_MOE, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, IQ2_XXS, IQ2_XS, IQ2_S, "
                    "IQ2_M, IQ3_XXS, IQ3_XS, IQ3_S, IQ3_M, IQ4_NL, IQ4_XS. A tensor whose rows a format's block does not divide is refused by name, unless "
                    "--fallback says what to store instead. The file appears when it is whole; Ctrl-C leaves nothing."},
};
