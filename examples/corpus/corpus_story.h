/* corpus_story.h - a small world as text: people, things with colours, places.
 *
 *   Mira has a red kite. Tom has a blue cup. Mira goes to the river. Mira gives the kite to Tom.
 *   Now Mira is at the river and has nothing. Now Tom is at the farm and has the blue cup and the
 *   red kite.
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
