/* wave.c - division by the length of a period. */
#include "coordinator/sched/wave.h"

uint32_t wave_task_count(const struct wave_layout *layout)
{
    return layout->periods * (layout->shards + layout->groups);
}

struct wave_place wave_place(const struct wave_layout *layout, uint32_t task)
{
    uint32_t length = layout->shards + layout->groups;
    uint32_t rest = task % length;
    bool is_group = rest >= layout->shards;
    return (struct wave_place){.period = task / length,
                               .is_group = is_group,
                               .index = is_group ? rest - layout->shards : rest};
}

uint32_t wave_task(const struct wave_layout *layout, struct wave_place place)
{
    uint32_t first = place.period * (layout->shards + layout->groups);
    return first + (place.is_group ? layout->shards : 0) + place.index;
}

uint32_t wave_end(const struct wave_layout *layout, uint32_t task)
{
    struct wave_place place = wave_place(layout, task);
    place.index = place.is_group ? layout->groups : layout->shards;
    return wave_task(layout, place);
}
