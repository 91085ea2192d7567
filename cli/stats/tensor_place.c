/* tensor_place.c - names through the roles of all families. */
#include "cli/stats/tensor_place.h"

#include <stdio.h>
#include <string.h>

#include "common/formats/convert/convert_name.h"

#define WEIGHT ".weight"

static bool find(struct text name, const struct convert_family **family,
                 struct convert_place *place)
{
    for (size_t i = 0; (*family = convert_name_any(i)) != NULL; i++) {
        if (convert_name_of_gguf(*family, name, place) || convert_name_of_hf(*family, name, place))
            return true;
    }
    return false;
}

static enum tensor_place_input input_of(enum convert_role role)
{
    if (role >= CONVERT_QUERY_KEY_VALUE && role <= CONVERT_VALUE)
        return TENSOR_PLACE_ATTENTION;
    if (role >= CONVERT_GATE_UP && role <= CONVERT_UP)
        return TENSOR_PLACE_MLP;
    if (role == CONVERT_OUTPUT)
        return TENSOR_PLACE_OUTPUT;
    return role == CONVERT_DOWN ? TENSOR_PLACE_DOWN : TENSOR_PLACE_OTHER;
}

/* "blk.4.ffn_down.weight" -> "ffn_down". */
static void copy_module(char *out, const char *name, bool in_layer)
{
    size_t size = strlen(name);
    const char *begin = in_layer ? strchr(name + strlen("blk."), '.') + 1 : name;
    if (size > strlen(WEIGHT) && strcmp(name + size - strlen(WEIGHT), WEIGHT) == 0)
        size -= strlen(WEIGHT);
    (void)snprintf(out, TENSOR_PLACE_MODULE_BYTES, "%.*s", (int)(size - (size_t)(begin - name)),
                   begin);
}

/* As much of the end as fits. */
static struct tensor_place unknown(struct text name)
{
    struct tensor_place out = {.order = CONVERT_ROLE_COUNT, .input = TENSOR_PLACE_OTHER};
    size_t skip = name.size >= sizeof out.module ? name.size - sizeof out.module + 1 : 0;
    (void)snprintf(out.module, sizeof out.module, "%.*s", (int)(name.size - skip),
                   name.data + skip);
    return out;
}

struct tensor_place tensor_place_of(struct text name)
{
    const struct convert_family *family;
    struct convert_place place;
    char whole[CONVERT_NAME_BYTES];
    if (name.size + sizeof WEIGHT > sizeof whole)
        return unknown(name);
    (void)snprintf(whole, sizeof whole, "%.*s", (int)name.size, name.data);
    if (!find(text_of(whole), &family, &place)) {
        (void)snprintf(whole, sizeof whole, "%.*s%s", (int)name.size, name.data, WEIGHT);
        if (!find(text_of(whole), &family, &place))
            return unknown(name);
    }
    struct tensor_place out = {.in_layer = convert_name_is_of_layer(place.role),
                               .layer = place.layer,
                               .order = (unsigned)place.role,
                               .input = input_of(place.role)};
    convert_name_print_gguf(family, place, whole);
    copy_module(out.module, whole, out.in_layer);
    return out;
}

bool tensor_place_reads(const struct tensor_place *reader, const struct tensor_place *site)
{
    return reader->in_layer == site->in_layer && reader->layer == site->layer &&
           reader->input == site->input &&
           (reader->input != TENSOR_PLACE_OTHER || strcmp(reader->module, site->module) == 0);
}

int tensor_place_compare(const struct tensor_place *a, const struct tensor_place *b)
{
    if (a->in_layer != b->in_layer)
        return a->in_layer ? -1 : 1;
    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return strcmp(a->module, b->module);
}
