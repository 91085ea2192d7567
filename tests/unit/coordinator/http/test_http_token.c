/* test_http_token.c - the file of the token: made once, private, one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/http/http_token.h"

struct fixture {
    char folder[64], path[96];
    uint8_t random[HTTP_TOKEN_RANDOM_BYTES];
};

static int setup(void **state)
{
    static struct fixture f;
    (void)snprintf(f.folder, sizeof f.folder, "/tmp/qfleet-token-XXXXXX");
    assert_non_null(mkdtemp(f.folder));
    (void)snprintf(f.path, sizeof f.path, "%s/http.token", f.folder);
    for (size_t i = 0; i < sizeof f.random; i++)
        f.random[i] = (uint8_t)(i * 37 + 250);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    (void)unlink(f->path);
    return rmdir(f->folder);
}

static void put(const struct fixture *f, const char *content, mode_t mode)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    (void)fputs(content, file);
    (void)fclose(file);
    assert_int_equal(chmod(f->path, mode), 0);
}

static void test_http_token__a_missing_file_is_made_once(void **state)
{
    struct fixture *f = *state;
    struct http_token first, second;
    struct err_text et = {""};
    struct stat st;
    assert_int_equal(http_token_read(f->path, &first, &et), ERR_NOT_FOUND);
    assert_int_equal(http_token_read_or_make(f->path, f->random, &first, &et), ERR_OK);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(strlen(first.text), 2 * HTTP_TOKEN_RANDOM_BYTES);
    assert_memory_equal(first.text, "fa1f4469", 8);
    f->random[0]++;
    assert_int_equal(http_token_read_or_make(f->path, f->random, &second, &et), ERR_OK);
    assert_string_equal(first.text, second.text);
}

static void test_http_token__others_must_not_read_it(void **state)
{
    const mode_t modes[] = {0640, 0604, 0644, 0660};
    struct fixture *f = *state;
    struct http_token token;
    struct err_text et = {""};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        put(f, "0123456789abcdef0123456789abcdef\n", modes[i]);
        assert_int_equal(http_token_read(f->path, &token, &et), ERR_DENIED);
        assert_non_null(strstr(et.text, "chmod 600"));
    }
}

static void test_http_token__what_is_no_file_holds_nothing_up(void **state)
{
    struct fixture *f = *state;
    struct http_token token;
    struct err_text et = {""};
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_int_equal(http_token_read(f->path, &token, &et), ERR_FORMAT);
    assert_int_equal(http_token_read("/dev/zero", &token, &et), ERR_FORMAT);
    assert_int_equal(http_token_read(f->folder, &token, &et), ERR_FORMAT);
}

/* A start that was killed while it made the file. */
static void test_http_token__half_a_file_is_made_anew(void **state)
{
    struct fixture *f = *state;
    struct http_token token;
    struct err_text et = {""};
    char half[128];
    (void)snprintf(half, sizeof half, "%s.new", f->path);
    FILE *file = fopen(half, "w");
    assert_non_null(file);
    (void)fputs("0123", file);
    (void)fclose(file);
    assert_int_equal(http_token_read_or_make(f->path, f->random, &token, &et), ERR_OK);
    assert_int_equal(strlen(token.text), 2 * HTTP_TOKEN_RANDOM_BYTES);
    assert_int_not_equal(access(half, F_OK), 0);
}

static void test_http_token__only_a_long_plain_line_will_do(void **state)
{
    const struct {
        const char *content;
        enum err err;
    } cases[] = {
        {"0123456789abcdef0123456789abcdef", ERR_OK}, /* without a line feed */
        {"A-long_token-of-letters-and-digits-0123456789\n", ERR_OK},
        {"", ERR_FORMAT},
        {"short\n", ERR_FORMAT},
        {"0123456789abcdef0123456789abcdef\n\n", ERR_FORMAT},
        {"0123456789abcdef 0123456789abcdef\n", ERR_FORMAT},
        {"0123456789abcdef;0123456789abcdef; Path=/evil\n", ERR_FORMAT}, /* it becomes a cookie */
    };
    struct fixture *f = *state;
    struct http_token token;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err_text et = {""};
        put(f, cases[i].content, 0600);
        assert_int_equal(http_token_read(f->path, &token, &et), cases[i].err);
    }
    char long_line[HTTP_TOKEN_CHARS_MAX + 2];
    struct err_text et = {""};
    memset(long_line, 'a', sizeof long_line - 1);
    long_line[sizeof long_line - 1] = '\0';
    put(f, long_line, 0600);
    assert_int_equal(http_token_read(f->path, &token, &et), ERR_FORMAT);
    long_line[HTTP_TOKEN_CHARS_MAX] = '\0';
    put(f, long_line, 0600);
    assert_int_equal(http_token_read(f->path, &token, &et), ERR_OK);
}

static void test_http_token__only_the_whole_token_is_the_token(void **state)
{
    const struct http_token token = {"0123456789abcdef0123456789abcdef"};
    char given[40];
    (void)state;
    assert_true(http_token_is(&token, "0123456789abcdef0123456789abcdef"));
    assert_false(http_token_is(&token, NULL));
    assert_false(http_token_is(&token, ""));
    assert_false(http_token_is(&token, "0123456789abcdef0123456789abcde"));
    assert_false(http_token_is(&token, "0123456789abcdef0123456789abcdeff"));
    for (size_t i = 0; i < strlen(token.text); i++) {
        (void)snprintf(given, sizeof given, "%s", token.text);
        given[i] ^= 1;
        assert_false(http_token_is(&token, given));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_http_token__a_missing_file_is_made_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_http_token__others_must_not_read_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http_token__what_is_no_file_holds_nothing_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_http_token__half_a_file_is_made_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http_token__only_a_long_plain_line_will_do, setup,
                                        teardown),
        cmocka_unit_test(test_http_token__only_the_whole_token_is_the_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
