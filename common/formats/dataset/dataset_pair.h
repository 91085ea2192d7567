/* dataset_pair.h - rows of preference data: a prompt with two answers, the chosen and the rejected.
 * For this folder.
 *
 *   prompt, chosen, rejected        texts, or lists of messages
 *   chosen, rejected                the prompt is what both begin with
 *   instruction, input?, system?, chosen, rejected    the prompt is Alpaca's
 *
 * Where answers are lists and the prompt is a text, the lists are whole conversations and the text
 * is left aside, as TRL has it.
 */
#ifndef COMMON_FORMATS_DATASET_DATASET_PAIR_H
#define COMMON_FORMATS_DATASET_DATASET_PAIR_H

#include "common/formats/dataset/dataset_reading.h"

/* Whether the answers of `object` are lists of messages. */
bool dataset_pair_is_chat(struct json_value object);

/* Reads a row into parts: those of prompt and chosen answer, and from row->split on those of prompt
 * and rejected answer. ERR_DATA names the keys seen and expected. */
MUST_CHECK enum err dataset_pair_read(struct dataset_reading *r);

#endif
