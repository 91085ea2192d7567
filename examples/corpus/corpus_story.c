/* corpus_story.c - a world, one to three events, and what is true afterwards. */
#include "examples/corpus/corpus_story.h"

#include "common/base/check.h"
#include "common/numeric/random.h"

enum { PEOPLE = 2, THINGS = 2, EVENTS_MAX = 3 };

static const char *const names[] = {"Mira", "Tom", "Anna", "Ben", "Lily", "Max", "Nora", "Paul"};
static const char *const things[] = {"kite", "cup", "ball", "lamp", "boat", "hat", "drum", "coin"};
static const char *const colours[] = {"red", "blue", "green", "white", "black", "golden"};
static const char *const places[] = {"river", "farm", "market", "garden", "forest", "school"};

struct world {
    uint64_t key;
    uint64_t drawn;
    const char *person[PEOPLE];
    const char *place[PEOPLE];
    const char *thing[THINGS];
    const char *colour[THINGS];
    size_t holder[THINGS];
};

static size_t draw(struct world *world, size_t bound)
{
    return (size_t)random_below(world->key, world->drawn++, bound);
}

/* Two different ones of a list. */
static void draw_pair(struct world *world, const char *const *list, size_t count,
                      const char *out[2])
{
    size_t first = draw(world, count);
    size_t second = (first + 1 + draw(world, count - 1)) % count;
    out[0] = list[first];
    out[1] = list[second];
}

static void begin(struct world *world, uint64_t number, struct bytes *out)
{
    *world = (struct world){.key = random_key(number, RANDOM_TEST, 0, 0, 0)};
    draw_pair(world, names, COUNT_OF(names), world->person);
    draw_pair(world, things, COUNT_OF(things), world->thing);
    draw_pair(world, colours, COUNT_OF(colours), world->colour);
    draw_pair(world, places, COUNT_OF(places), world->place);
    for (size_t i = 0; i < PEOPLE; i++) {
        world->holder[i] = i;
        bytes_print(out, "%s%s is at the %s and has a %s %s.", i == 0 ? "" : " ", world->person[i],
                    world->place[i], world->colour[i], world->thing[i]);
    }
}

static void happen(struct world *world, struct bytes *out)
{
    size_t kind = draw(world, 5);
    size_t who = draw(world, PEOPLE), what = draw(world, THINGS);
    if (kind == 0) {
        world->place[who] = places[draw(world, COUNT_OF(places))];
        bytes_print(out, " %s goes to the %s.", world->person[who], world->place[who]);
    } else if (kind == 1) {
        world->colour[what] = colours[draw(world, COUNT_OF(colours))];
        bytes_print(out, " %s paints the %s %s.", world->person[world->holder[what]],
                    world->thing[what], world->colour[what]);
    } else {
        size_t giver = world->holder[what];
        world->holder[what] = 1 - giver;
        bytes_print(out, " %s gives the %s to %s.", world->person[giver], world->thing[what],
                    world->person[1 - giver]);
    }
}

static void go_on(struct world *world, struct bytes *out)
{
    size_t events = 1 + draw(world, EVENTS_MAX);
    for (size_t i = 0; i < events; i++)
        happen(world, out);
}

static void end(const struct world *world, struct bytes *out)
{
    for (size_t who = 0; who < PEOPLE; who++) {
        size_t count = 0;
        bytes_print(out, " Now %s is at the %s and has", world->person[who], world->place[who]);
        for (size_t what = 0; what < THINGS; what++) {
            if (world->holder[what] != who)
                continue;
            bytes_print(out, "%s the %s %s", count > 0 ? " and" : "", world->colour[what],
                        world->thing[what]);
            count++;
        }
        bytes_print(out, "%s.", count == 0 ? " nothing" : "");
    }
}

void corpus_story_print(uint64_t number, struct bytes *out)
{
    struct world world;
    begin(&world, number, out);
    go_on(&world, out);
    end(&world, out);
}

void corpus_story_ask(uint64_t number, struct bytes *question, struct bytes *answer)
{
    struct world world;
    begin(&world, number, question);
    go_on(&world, question);
    size_t kind = draw(&world, 3), who = draw(&world, PEOPLE), what = draw(&world, THINGS);
    if (kind == 0) {
        bytes_print(question, " Who has the %s?", world.thing[what]);
        bytes_print(answer, " %s.", world.person[world.holder[what]]);
    } else if (kind == 1) {
        bytes_print(question, " Where is %s?", world.person[who]);
        bytes_print(answer, " at the %s.", world.place[who]);
    } else {
        bytes_print(question, " Which colour has the %s?", world.thing[what]);
        bytes_print(answer, " %s.", world.colour[what]);
    }
}
