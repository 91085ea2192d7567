/* corpus_story.c - a thing in a world, one to five events, and what is true afterwards. */
#include "examples/corpus/corpus_story.h"

#include "common/base/check.h"
#include "common/numeric/random.h"

enum { EVENTS_MAX = 5 };

static const char *const names[] = {"Mira", "Tom",  "Anna", "Ben", "Lily", "Max",
                                    "Nora", "Paul", "Rosa", "Sam", "Tina", "Victor"};
static const char *const things[] = {"kite", "cup",  "ball", "lamp", "boat", "hat",
                                     "drum", "coin", "rope", "bell", "book", "key"};
static const char *const colours[] = {"red",   "blue",   "green",  "white",
                                      "black", "golden", "silver", "brown"};
static const char *const places[] = {"river",  "farm",   "market", "garden",
                                     "forest", "school", "bridge", "tower"};

struct world {
    uint64_t key;
    uint64_t drawn;
    const char *thing;
    const char *holder;
    const char *colour;
    const char *place;
};

static const char *draw(struct world *world, const char *const *list, size_t count)
{
    return list[random_below(world->key, world->drawn++, count)];
}

/* One that differs from `now`. */
static const char *draw_other(struct world *world, const char *const *list, size_t count,
                              const char *now)
{
    const char *other = now;
    while (other == now)
        other = draw(world, list, count);
    return other;
}

static void begin(struct world *world, uint64_t number, struct bytes *out)
{
    *world = (struct world){.key = random_key(number, RANDOM_TEST, 0, 0, 0)};
    world->thing = draw(world, things, COUNT_OF(things));
    world->holder = draw(world, names, COUNT_OF(names));
    world->colour = draw(world, colours, COUNT_OF(colours));
    world->place = draw(world, places, COUNT_OF(places));
    bytes_print(out, "%s has a %s %s at the %s.", world->holder, world->colour, world->thing,
                world->place);
}

static void happen(struct world *world, struct bytes *out)
{
    uint64_t kind = random_below(world->key, world->drawn++, 3);
    const char *who = world->holder;
    if (kind == 0) {
        world->place = draw_other(world, places, COUNT_OF(places), world->place);
        bytes_print(out, " %s takes the %s to the %s.", who, world->thing, world->place);
    } else if (kind == 1) {
        world->colour = draw_other(world, colours, COUNT_OF(colours), world->colour);
        bytes_print(out, " %s paints the %s %s.", who, world->thing, world->colour);
    } else {
        world->holder = draw_other(world, names, COUNT_OF(names), world->holder);
        bytes_print(out, " %s gives the %s to %s.", who, world->thing, world->holder);
    }
}

static void go_on(struct world *world, struct bytes *out)
{
    uint64_t events = 1 + random_below(world->key, world->drawn++, EVENTS_MAX);
    for (uint64_t i = 0; i < events; i++)
        happen(world, out);
}

void corpus_story_print(uint64_t number, struct bytes *out)
{
    struct world world;
    begin(&world, number, out);
    go_on(&world, out);
    bytes_print(out, " Now %s has the %s %s at the %s.", world.holder, world.colour, world.thing,
                world.place);
}

void corpus_story_ask(uint64_t number, struct bytes *question, struct bytes *answer)
{
    struct world world;
    begin(&world, number, question);
    go_on(&world, question);
    switch (random_below(world.key, world.drawn++, 3)) {
    case 0:
        bytes_print(question, " Who has the %s?", world.thing);
        bytes_print(answer, " %s.", world.holder);
        return;
    case 1:
        bytes_print(question, " Where is the %s?", world.thing);
        bytes_print(answer, " at the %s.", world.place);
        return;
    default:
        bytes_print(question, " What does %s have?", world.holder);
        bytes_print(answer, " the %s %s.", world.colour, world.thing);
        return;
    }
}
