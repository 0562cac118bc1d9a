/* libkoine: DeepSeek V4 on whatever compute devices a machine has.
 *
 * Life cycle
 *   koine_runtime_open    finds the machine's devices
 *   koine_model_open      maps a checkpoint folder; touches no device
 *   koine_plan_make       decides what runs where; a plan is immutable and asleep
 *   koine_plan_wake       uploads the weights, compiles the kernels (slow; reports progress)
 *   koine_session_open    one conversation's caches on an awake plan
 *   koine_session_eval    the FULL token prefix in, logits out; what is already held is reused
 *   koine_batch_step      many conversations at once, their tokens going through the layers together
 * Text: koine_tokenizer_open for ids, koine_chat_open for conversations, koine_generate for answers.
 * Close in the reverse order: a session needs its plan, a plan needs its model and its runtime.
 *
 * Where it is declared (this header includes all of it)
 *   koine/base.h          version, status and last error, log, progress
 *   koine/run.h           devices, models, plans, sessions: from ids to logits
 *   koine/place.h         machines as data, where layers run best on them
 *   koine/text.h          tokenizers, chat, sampling, answers, perplexity
 *   koine/batch.h         several sessions in common steps
 *   koine/check.h         verification, measurements, tuning
 *
 * Errors: every function that can fail returns a koine_status, 0 for success. koine_last_error() then gives one line for the
 * calling thread that names the thing (file, tensor, device), what was expected and found, and what to do. On failure
 * out-parameters are untouched, unless a function says otherwise. The library never prints, exits or aborts on input; koine_log_set takes
 * warnings and notes. What the environment (locale) of the process is changes no text that the library makes.
 *
 * Threads: different objects may be used on different threads at once, and several sessions of one plan too: each device of the plan works for
 * one of them at a time, so that several sessions keep several devices busy. One session is used by one thread at a time, but for
 * koine_session_cancel. A long evaluation on several devices starts threads of its own, which end with it.
 *
 * Devices that fail: KOINE_ERR_DEVICE names the device. Sessions of the plan that need it end with the same error from then on; they and the plan
 * can be closed, and another plan be made of the devices that are left.
 *
 * Ownership: what an _open/_make call gives is released by the matching _close/_free. Texts handed out (char **) are released by
 * koine_text_free. Pointers inside info records live as long as the object they came from.
 *
 * Records grow: later releases add members at the end, and programs and libraries of different releases work together. The first member of
 * every record is its size: set it to sizeof the record, or start from the record's KOINE_..._INIT. Zero is the default of every member
 * but where its comment says otherwise. A record of options that is shorter than this library's has defaults for the rest; a longer one is
 * taken while what this library does not know is zero, and refused with KOINE_ERR_UNSUPPORTED otherwise. A record that is filled for the
 * caller is filled as far as its size says, and its size then says how far; a size of 0, or one that was never set, stands for the
 * members that the record had in release 0.1.0. `reserved` members are 0.
 *
 * The library writes files only below the cache folder of koine_runtime_options, and those that it is asked for by their names. A driver may
 * keep files of its own: some compilers of kernels do, in folders that their environment variables name. */
#ifndef KOINE_H
#define KOINE_H
#include "koine/base.h"
#include "koine/run.h"
#include "koine/place.h"
#include "koine/text.h"
#include "koine/batch.h"
#include "koine/check.h"
#endif
