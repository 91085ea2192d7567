/* corpus_story.h - a small world as text: people pass a thing on, paint it, carry it about.
 *
 *   Mira has a red kite at the river. Mira gives the kite to Tom. Tom paints the kite blue. Tom
 * takes the kite to the farm. Now Tom has the blue kite at the farm.
 *
 * Who reads it to the end must have kept track; that is what a model can learn here. Story `number`
 * is always the same text.
 */
#ifndef EXAMPLES_CORPUS_CORPUS_STORY_H
#define EXAMPLES_CORPUS_CORPUS_STORY_H

#include <stdint.h>

#include "common/mem/bytes.h"

/* Appends the whole story. */
void corpus_story_print(uint64_t number, struct bytes *out);

/* Appends the story without its ending and then a question, and the answer to *answer. */
void corpus_story_ask(uint64_t number, struct bytes *question, struct bytes *answer);

#endif
