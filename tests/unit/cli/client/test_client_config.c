/* test_client_config.c - which file counts, and what its keys mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/client/client_config.h"
#include "common/base/check.h"
#include "common/formats/source/file.h"
#include "common/formats/source/folder.h"

enum { PATH_BYTES = 128 };

struct place {
    char folder[PATH_BYTES];
    char file[PATH_BYTES * 2];
    struct arena arena;
};

static int set_up(void **state)
{
    static struct place place;
    (void)snprintf(place.folder, sizeof place.folder, "/tmp/qfleet-config-XXXXXX");
    if (mkdtemp(place.folder) == NULL)
        return 1;
    arena_init(&place.arena, 1 << 20);
    (void)snprintf(place.file, sizeof place.file, "%s/.config/qfleet", place.folder);
    if (folder_create(place.file, NULL) != ERR_OK)
        return 1;
    (void)snprintf(place.file, sizeof place.file, "%s/.config/qfleet/client.yml", place.folder);
    *state = &place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char path[PATH_BYTES * 2];
    static const char *const folders[] = {"/.config/qfleet", "/.config", ""};
    arena_fini(&place->arena);
    (void)unlink(place->file);
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        (void)snprintf(path, sizeof path, "%s%s", place->folder, folders[i]);
        (void)rmdir(path);
    }
    return 0;
}

static void write_file(const struct place *place, const char *content)
{
    assert_int_equal(file_write_atomic(place->file,
                                       (struct span){(const uint8_t *)content, strlen(content)},
                                       NULL),
                     ERR_OK);
}

static void test_config__of_a_user_is_found_and_its_files_lie_beside_it(void **state)
{
    struct place *place = *state;
    const struct client_config_places places = {.home = place->folder};
    struct client_config config;
    char expected[PATH_BYTES * 2];
    write_file(place, "coordinator: tcp://head:7070\nsecret: me.key\nserver_key: /k/c.pub\n");
    assert_int_equal(client_config_read(&places, &place->arena, &config, NULL), ERR_OK);
    assert_string_equal(config.file, place->file);
    assert_string_equal(config.coordinator, "tcp://head:7070");
    (void)snprintf(expected, sizeof expected, "%s/.config/qfleet/me.key", place->folder);
    assert_string_equal(config.secret, expected);
    assert_string_equal(config.server_key, "/k/c.pub");
}

static void test_config__named_by_the_environment_stands_above_the_user_s(void **state)
{
    struct place *place = *state;
    struct client_config config;
    struct err_text et = {""};
    write_file(place, "coordinator: tcp://head:7070\n");
    struct client_config_places places = {.file = "", .home = place->folder};
    assert_int_equal(client_config_read(&places, &place->arena, &config, NULL), ERR_OK);
    assert_null(config.file);
    assert_null(config.coordinator);
    places.file = "/nowhere/client.yml";
    assert_int_equal(client_config_read(&places, &place->arena, &config, &et), ERR_NOT_FOUND);
    assert_non_null(strstr(et.text, "/nowhere/client.yml"));
}

static void test_config__a_mistake_is_named_with_its_place(void **state)
{
    static const struct {
        const char *content, *message;
    } rows[] = {
        {"cordinator: x\n", ":1:1: cordinator: unknown key; did you mean coordinator?"},
        {"coordinator: x\nsecret: [a]\n", ":2:9: secret: expected a text"},
        {"- a\n", ":1:1: expected keys with values"},
        {"coordinator: [\n", ":2:1: "},
    };
    struct place *place = *state;
    const struct client_config_places places = {.file = place->file};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client_config config;
        struct err_text et = {""};
        write_file(place, rows[i].content);
        assert_int_equal(client_config_read(&places, &place->arena, &config, &et), ERR_RECIPE);
        assert_memory_equal(et.text, place->file, strlen(place->file));
        if (strncmp(et.text + strlen(place->file), rows[i].message, strlen(rows[i].message)) != 0)
            fail_msg("found \"%s\", expected \"%s\"", et.text, rows[i].message);
        assert_null(config.file);
    }
}

static void test_config__an_empty_file_names_no_coordinator(void **state)
{
    struct place *place = *state;
    const struct client_config_places places = {.file = place->file};
    struct client_config config;
    write_file(place, "# nothing yet\n");
    assert_int_equal(client_config_read(&places, &place->arena, &config, NULL), ERR_OK);
    assert_null(config.coordinator);
    assert_string_equal(config.file, place->file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_config__of_a_user_is_found_and_its_files_lie_beside_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_config__named_by_the_environment_stands_above_the_user_s, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_config__a_mistake_is_named_with_its_place, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_config__an_empty_file_names_no_coordinator, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
