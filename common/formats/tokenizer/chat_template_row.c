/* chat_template_row.c - the table of chat templates.
 *
 * A new template is a row here and a file of golden renderings (tests/golden/chat_template).
 * Forms are written as jinja_form.h spells them, so "\\n" is the escape of the Jinja text.
 */
#include "common/formats/tokenizer/chat_template_row.h"

#include "common/base/check.h"

#define BOS CHAT_TEMPLATE_BOS
#define EOS CHAT_TEMPLATE_EOS

/* ---- pieces that several forms share ---- */

#define FOR        "{%for message in messages%}"
#define FOR_ALL    "{%set loop_messages=messages%}" FOR_REST
#define FOR_REST   "{%for message in loop_messages%}"
#define END        "{%endfor%}"
#define ENDIF      "{%endif%}"
#define ASK(print) "{%if add_generation_prompt%}{{" print "}}"

/* What a role prints. */
#define IF(role, print)   "{%if message.role=='" role "'%}{{" print "}}"
#define ELIF(role, print) "{%elif message.role=='" role "'%}{{" print "}}"
#define ELSE_RAISE(text)  "{%else%}{{raise_exception('" text "')}}{%endif%}"

#define ALTERNATE                                                                                  \
    "{%if(message.role=='user')!=(loop.index0%2==0)%}{{raise_exception('Conversation roles must "  \
    "alternate user/assistant/user/assistant/...')}}{%endif%}"
#define TAKE_SYSTEM                                                                                \
    "{%if messages[0].role=='system'%}{%set loop_messages=messages[1:]%}{%set "                    \
    "system_message=messages[0].content%}{%else%}{%set loop_messages=messages%}{%set "             \
    "system_message=false%}{%endif%}"

/* ---- ChatML ---- */

#define CHATML_SAY "{{'<|im_start|>'+message.role+'\\n'+message.content+'<|im_end|>\\n'}}"
#define CHATML_ASK ASK("'<|im_start|>assistant\\n'") ENDIF
#define CHATML_DEFAULT(text)                                                                       \
    FOR "{%if loop.first and messages[0].role!='system'%}{{'<|im_start|>system\\n" text            \
        "<|im_end|>\\n'}}{%endif%}" CHATML_SAY END CHATML_ASK
#define CHATML_TURNS                                                                               \
    .system_open = "<|im_start|>system\n", .system_close = "<|im_end|>\n",                         \
    .user_open = "<|im_start|>user\n", .user_close = "<|im_end|>\n",                               \
    .assistant_open = "<|im_start|>assistant\n", .assistant_close = "<|im_end|>",                  \
    .after_assistant = "\n", .generation = "<|im_start|>assistant\n"

#define QWEN_2_SYSTEM   "You are a helpful assistant."
#define QWEN_2_5_SYSTEM "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define QWEN_2_5_TOOLS                                                                             \
    "{%if tools%}*{%else%}{%if messages[0].role=='system'%}{{'<|im_start|>system\\n'+"             \
    "messages[0].content+'<|im_end|>\\n'}}{%else%}{{'<|im_start|>system\\n" QWEN_2_5_SYSTEM        \
    "<|im_end|>\\n'}}{%endif%}{%endif%}" FOR                                                       \
    "{%if(message.role=='user')or(message.role=='system'and not loop.first)or("                    \
    "message.role=='assistant'and not message.tool_calls)%}" CHATML_SAY                            \
    "{%elif message.role=='assistant'%}*" CHATML_ASK
/* The last answer, if no question follows it, begins with its thoughts, be they none; what earlier
 * answers thought is left out. */
#define QWEN_3_THINK ".split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n')"
#define QWEN_3_SAY(name)                                                                           \
    "'<think>\\n'+" name ".strip('\\n')+'\\n</think>\\n\\n'+content.lstrip('\\n')"
#define QWEN_3_PLAIN                                                                               \
    "{%set ns=namespace(last=messages|length-1,found=false)%}{%for message in messages[::-1]%}"    \
    "{%if not ns.found and message.role=='user'and not("                                           \
    "message.content.startswith('<tool_response>')and "                                            \
    "message.content.endswith('</tool_response>'))%}{%set ns.found=true%}{%set "                   \
    "ns.last=messages|length-1-loop.index0%}{%endif%}{%endfor%}" FOR                               \
    "{%if message.role!='assistant'%}" CHATML_SAY "{%else%}{%set content=message.content%}{%set "  \
    "reasoning=''%}{%if'</think>'in content%}{%set reasoning=content" QWEN_3_THINK                 \
    "%}{%set content=content.split('</think>')[-1].lstrip('\\n')%}{%endif%}"                       \
    "{{'<|im_start|>assistant\\n'}}{%if loop.index0>ns.last and(loop.last or "                     \
    "reasoning)%}{{" QWEN_3_SAY(                                                                   \
        "reasoning") "}}{%else%}{{content}}{%endif%}{{'<|im_end|>\\n'}}{%endif%}" END CHATML_ASK
#define QWEN_3_TOOLS                                                                               \
    "{%if tools%}*{%else%}{%if messages[0].role=='system'%}{{'<|im_start|>system\\n'+"             \
    "messages[0].content+'<|im_end|>\\n'}}{%endif%}{%endif%}{%set ns=namespace(*{%set "            \
    "ns.last_query_index=index%}{%endif%}{%endfor%}" FOR                                           \
    "*{%if(message.role=='user')or(message.role=='system'and not loop.first)%}{{'<|im_start|>'+"   \
    "message.role+'\\n'+*content+'<|im_end|>\\n'}}{%elif "                                         \
    "message.role=='assistant'%}*" QWEN_3_THINK                                                    \
    "*{%if loop.index0>ns.last_query_index%}{%if loop.last or(not loop.last and "                  \
    "reasoning_content)%}{{'<|im_start|>'+message.role+'\\n<think>\\n'+"                           \
    "reasoning_content.strip('\\n')+'\\n</think>\\n\\n'+content.lstrip('\\n')}}{%else%}"           \
    "{{'<|im_start|>'+message.role+'\\n'+content}}{%endif%}{%else%}{{'<|im_start|>'+"              \
    "message.role+'\\n'+content}}{%endif%}*{{'<|im_end|>\\n'}}*" ASK(                              \
        "'<|im_start|>assistant\\n'") "{%if enable_thinking is defined and enable_thinking is "    \
                                      "false%}{{'<think>\\n\\n</think>\\n\\n"                      \
                                      "'}}{%endif%}{%endif%}"
#define SMOL_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

/* ---- Llama ---- */

#define LLAMA_2_USER                                                                               \
    TAKE_SYSTEM FOR_REST ALTERNATE                                                                 \
        "{%if loop.index0==0 and system_message!=false%}{%set content='<<SYS>>\\n'+"               \
        "system_message+'\\n<</SYS>>\\n\\n'+message.content%}{%else%}{%set "                       \
        "content=message.content%}{%endif%}" IF("user",                                            \
                                                "bos_token+'[INST] '+content.strip()+' [/INST]'")
#define LLAMA_2_ASSISTANT ELIF("assistant", "' '+content.strip()+' '+eos_token") ENDIF END

#define LLAMA_3_TITLE      "'<|start_header_id|>'+message.role+'<|end_header_id|>\\n\\n'+"
#define LLAMA_3_OPEN(role) "'<|start_header_id|>" role "<|end_header_id|>\\n\\n'"
#define LLAMA_3_BEGIN                                                                              \
    "{%if loop.index0==0%}{%set content=bos_token+content%}{%endif%}"                              \
    "{{content}}"
#define LLAMA_3_ASK ASK(LLAMA_3_OPEN("assistant")) ENDIF
#define LLAMA_3_LOOP                                                                               \
    FOR_ALL "{%set content=" LLAMA_3_TITLE "message.content|trim+'<|eot_id|>'%}" LLAMA_3_BEGIN END
#define LLAMA_3_PARTS                                                                              \
    FOR_ALL "{%if message.content is string%}{%set message_text=message.content|trim%}*{%set "     \
            "content=" LLAMA_3_TITLE "message_text+'<|eot_id|>'%}" LLAMA_3_BEGIN END
#define LLAMA_3_HEAD(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define LLAMA_3_TURNS                                                                              \
    .start = BOS, .system_open = LLAMA_3_HEAD("system"), .system_close = "<|eot_id|>",             \
    .user_open = LLAMA_3_HEAD("user"), .user_close = "<|eot_id|>",                                 \
    .assistant_open = LLAMA_3_HEAD("assistant"), .assistant_close = "<|eot_id|>",                  \
    .generation = LLAMA_3_HEAD("assistant"), .trim = CHAT_TRIM_ALL

#define LLAMA_3_1_SAY       "{{" LLAMA_3_TITLE "message.content|trim+'<|eot_id|>'}}"
#define LLAMA_3_1_DAYS(day) "Cutting Knowledge Date: December 2023\\nToday Date: " day "\\n\\n'"
#define LLAMA_3_1_PLAIN                                                                            \
    "{{bos_token+'<|start_header_id|>system<|end_header_id|>\\n\\n" LLAMA_3_1_DAYS(                \
        "26 Jul 2024") "}}{%if messages[0].role=='system'%}{{messages[0].content|trim}}{%set "     \
                       "loop_messages=messages[1:]%}{%else%}{%set "                                \
                       "loop_messages=messages%}{%endif%}"                                         \
                       "{{'<|eot_id|>'}}" FOR_REST LLAMA_3_1_SAY END LLAMA_3_ASK
#define LLAMA_3_1_TOOLS                                                                            \
    "{{bos_token}}*{%set date_string='26 Jul 2024'%}*{{" LLAMA_3_OPEN(                             \
        "system") "}}*{{'" LLAMA_3_1_DAYS("'+date_string+'") "}}*{{system_message+'<|eot_id|>'}}"  \
                                                             "*" LLAMA_3_1_SAY "*" LLAMA_3_ASK

/* ---- Zephyr, Phi ---- */

#define ZEPHYR_SAY(role) "'<|" role "|>\\n'+message.content+eos_token+'\\n'"
#define ZEPHYR_LOOP                                                                                \
    FOR IF("user", ZEPHYR_SAY("user")) ELIF("system", ZEPHYR_SAY("system"))                        \
        ELIF("assistant", ZEPHYR_SAY("assistant")) ENDIF                                           \
        "{%if loop.last and add_generation_prompt%}{{'<|assistant|>\\n'}}{%endif%}" END

#define PHI_SAY(role) "'<|" role "|>\\n'+message.content+'<|end|>\\n'"
#define PHI_3_LOOP(and_content)                                                                    \
    FOR "{%if message.role=='system'" and_content                                                  \
        "%}{{" PHI_SAY("system") "}}" ELIF("user", PHI_SAY("user"))                                \
            ELIF("assistant", PHI_SAY("assistant"))                                                \
                ENDIF END ASK("'<|assistant|>\\n'") "{%else%}{{eos_token}}{%endif%}"
#define PHI_3_LEGACY_LOOP(assistant)                                                               \
    "{{bos_token}}" FOR "{%if(message.role=='system')%}{{" PHI_SAY(                                \
        "system") "}}{%elif(message.role=='user')%}{{'<|user|>\\n'+message.content+'<|end|>\\n<|"  \
                  "assistant|>\\n'"                                                                \
                  "}}{%elif" assistant "%}{{message.content+'<|end|>\\n'}}{%endif%}" END
#define PHI_3_TURNS                                                                                \
    .system_open = "<|system|>\n", .system_close = "<|end|>\n", .user_open = "<|user|>\n",         \
    .assistant_close = "<|end|>", .after_assistant = "\n"
#define PHI_3_ANSWERS                                                                              \
    .user_close = "<|end|>\n", .assistant_open = "<|assistant|>\n",                                \
    .generation = "<|assistant|>\n", .tail = EOS

/* ---- Gemma ---- */

#define GEMMA_ROLE                                                                                 \
    "{%if(message.role=='assistant')%}{%set role='model'%}{%else%}{%set "                          \
    "role=message.role%}{%endif%}"
#define GEMMA_START                                                                                \
    "{{bos_token}}{%if messages[0].role=='system'%}{{raise_exception('System role not "            \
    "supported')}}{%endif%}" FOR ALTERNATE GEMMA_ROLE
#define GEMMA_SAY "{{'<start_of_turn>'+role+'\\n'+message.content|trim+'<end_of_turn>\\n'}}"
#define GEMMA_ASK ASK("'<start_of_turn>model\\n'") ENDIF
#define GEMMA_3_PLAIN                                                                              \
    "{{bos_token}}{%if messages[0].role=='system'%}{%set prefix=messages[0].content+'\\n\\n'%}"    \
    "{%set loop_messages=messages[1:]%}{%else%}{%set prefix=''%}{%set "                            \
    "loop_messages=messages%}{%endif%}" FOR_REST ALTERNATE GEMMA_ROLE                              \
    "{{'<start_of_turn>'+role+'\\n'+(prefix if loop.first else'')+message.content|trim+"           \
    "'<end_of_turn>\\n'}}" END GEMMA_ASK
#define GEMMA_3_PICTURES                                                                           \
    "{{bos_token}}{%if messages[0].role=='system'%}*{%set first_user_prefix="                      \
    "messages[0].content+'\\n\\n'%}*" FOR_REST ALTERNATE GEMMA_ROLE                                \
    "{{'<start_of_turn>'+role+'\\n'+(first_user_prefix if loop.first else'')}}{%if "               \
    "message.content is string%}{{message.content|trim}}*{{'<end_of_turn>\\n'}}" END GEMMA_ASK
#define GEMMA_TURNS                                                                                \
    .start = BOS, .user_open = "<start_of_turn>user\n", .user_close = "<end_of_turn>\n",           \
    .assistant_open = "<start_of_turn>model\n", .assistant_close = "<end_of_turn>",                \
    .after_assistant = "\n", .generation = "<start_of_turn>model\n",                               \
    .trim = CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT, .alternate = true

/* ---- Mistral ---- */

#define MISTRAL_LOOP(assistant)                                                                    \
    "{{bos_token}}" FOR ALTERNATE IF("user", "'[INST] '+message.content+' [/INST]'")               \
        ELIF("assistant", assistant) ELSE_RAISE("Only user and assistant roles are supported!")    \
            END
#define MISTRAL_V1                                                                                 \
    "{%if messages[0].role=='system'%}*{{bos_token}}" FOR_REST                                     \
    "*{%if message.role=='user'%}{%if loop.first and system_message is defined%}{{' [INST] '+"     \
    "system_message+'\\n\\n'+*content+' [/INST]'}}{%else%}{{' [INST] '+*content+' [/INST]'}}"      \
    "{%endif%}" ELIF("assistant", "' '+*content+eos_token") ELSE_RAISE("*") END
/* The system message is in the `which` turn of the user, "first" or "last". */
#define MISTRAL_PLAIN(which, open, close, assistant)                                               \
    TAKE_SYSTEM                                                                                    \
    "{{bos_token}}" FOR_REST ALTERNATE "{%if message.role=='user'%}{%if loop." which               \
    " and system_message!=false%}{{'" open "'+system_message+'\\n\\n'+message.content+'" close     \
    "'}}{%else%}{{'" open "'+message.content+'" close "'}}{%endif%}" ELIF("assistant", assistant)  \
        ELSE_RAISE(                                                                                \
            "Only user and assistant roles are supported, with the exception of an initial "       \
            "optional system message!") END
/* Mistral's own since the summer of 2024. */
#define MISTRAL_TOOLS(open, assistant)                                                             \
    "{%if messages[0].role=='system'%}*{%set user_messages=*{{bos_token}}" FOR_REST                \
    "{%if message.role=='user'%}*{%if loop.last and system_message is defined%}{{'" open           \
    "'+system_message+'\\n\\n'+*content+'[/INST]'}}{%else%}{{'" open                               \
    "'+*content+'[/INST]'}}{%endif%}*{%elif message.role=='assistant'%}*{{" assistant              \
    "+eos_token}}*{%endif%}" END
#define MISTRAL_TURNS                                                                              \
    .start = BOS, .user_open = "[INST] ", .user_close = " [/INST]", .assistant_close = EOS,        \
    .alternate = true

/* ---- others ---- */

#define ALPACA_LOOP                                                                                \
    "{{bos_token}}" FOR "{%if message.role=='system'and loop.first%}{{message.content}}" ELIF(     \
        "user", "'### Instruction:\\n'+message.content")                                           \
        ELIF("assistant", "'### Response:\\n'+message.content+eos_token") ENDIF                    \
        "{%if not loop.last%}{{'\\n\\n'}}{%endif%}" END ASK("'\\n\\n### Response:\\n'") ENDIF

#define VICUNA_LOOP                                                                                \
    "{%if messages[0].role=='system'%}{%set system_message=messages[0].content|trim+'\\n\\n'%}"    \
    "{%set messages=messages[1:]%}{%else%}{%set system_message=''%}{%endif%}"                      \
    "{{bos_token+system_message}}" FOR ALTERNATE IF("user", "'USER: '+message.content|trim+'\\n'") \
        ELIF("assistant", "'ASSISTANT: '+message.content|trim+eos_token+'\\n'")                    \
            ENDIF END ASK("'ASSISTANT:'") ENDIF

static const struct chat_template rows[] = {
    {
        .name = "chatml",
        .forms = {FOR CHATML_SAY END CHATML_ASK},
        CHATML_TURNS,
    },
    {
        .name = "qwen-2",
        .forms = {CHATML_DEFAULT(QWEN_2_SYSTEM)},
        CHATML_TURNS,
        .default_system = QWEN_2_SYSTEM,
    },
    {
        .name = "qwen-2.5",
        .forms = {CHATML_DEFAULT(QWEN_2_5_SYSTEM), QWEN_2_5_TOOLS},
        CHATML_TURNS,
        .default_system = QWEN_2_5_SYSTEM,
    },
    {
        .name = "qwen-3",
        .forms = {QWEN_3_PLAIN, QWEN_3_TOOLS},
        CHATML_TURNS,
        .thinks = true,
    },
    {
        .name = "smollm2",
        .forms = {CHATML_DEFAULT(SMOL_SYSTEM)},
        CHATML_TURNS,
        .default_system = SMOL_SYSTEM,
    },
    {
        .name = "llama-2",
        .forms = {LLAMA_2_USER LLAMA_2_ASSISTANT, LLAMA_2_USER "*" LLAMA_2_ASSISTANT},
        .system_open = "<<SYS>>\n",
        .system_close = "\n<</SYS>>\n\n",
        .user_open = BOS "[INST] ",
        .user_close = " [/INST]",
        .assistant_lead = " ",
        .assistant_close = " " EOS,
        .system = CHAT_SYSTEM_IN_USER,
        .trim = CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT,
        .alternate = true,
    },
    {
        /* The second form opens a turn whether it is asked to or not. A conversation that is
         * trained on stays closed here. */
        .name = "llama-3",
        .forms = {LLAMA_3_LOOP LLAMA_3_ASK, LLAMA_3_LOOP "{{" LLAMA_3_OPEN("assistant") "}}",
                  LLAMA_3_PARTS LLAMA_3_ASK},
        LLAMA_3_TURNS,
    },
    {
        .name = "llama-3.1",
        .forms = {LLAMA_3_1_PLAIN, LLAMA_3_1_TOOLS},
        LLAMA_3_TURNS,
        .preface = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
        .default_system = "",
    },
    {
        .name = "zephyr",
        .forms = {ZEPHYR_LOOP},
        .system_open = "<|system|>\n",
        .system_close = EOS "\n",
        .user_open = "<|user|>\n",
        .user_close = EOS "\n",
        .assistant_open = "<|assistant|>\n",
        .assistant_close = EOS,
        .after_assistant = "\n",
        .generation = "<|assistant|>\n",
    },
    {
        .name = "phi-3",
        .forms = {PHI_3_LOOP("")},
        PHI_3_TURNS,
        PHI_3_ANSWERS,
    },
    {
        .name = "phi-3.5",
        .forms = {PHI_3_LOOP("and message.content")},
        PHI_3_TURNS,
        PHI_3_ANSWERS,
        .skip_empty_system = true,
    },
    {
        .name = "phi-3-legacy",
        .forms = {PHI_3_LEGACY_LOOP(" message.role=='assistant'"),
                  PHI_3_LEGACY_LOOP("(message.role=='assistant')")},
        PHI_3_TURNS,
        .start = BOS,
        .user_close = "<|end|>\n<|assistant|>\n",
    },
    {
        .name = "gemma",
        .alias = "gemma-2",
        .forms = {GEMMA_START GEMMA_SAY END GEMMA_ASK, GEMMA_START
                  "{%if message.content is string%}" GEMMA_SAY "{%else%}*{%endif%}" END GEMMA_ASK},
        GEMMA_TURNS,
        .system = CHAT_SYSTEM_REFUSED,
    },
    {
        .name = "gemma-3",
        .forms = {GEMMA_3_PLAIN, GEMMA_3_PICTURES},
        GEMMA_TURNS,
        .system_close = "\n\n",
        .system = CHAT_SYSTEM_BEFORE_USER,
    },
    {
        .name = "mistral",
        .forms = {MISTRAL_LOOP("message.content+eos_token")},
        MISTRAL_TURNS,
        .system = CHAT_SYSTEM_REFUSED,
    },
    {
        .name = "mistral-v0.1",
        .forms = {MISTRAL_LOOP("message.content+eos_token+' '")},
        MISTRAL_TURNS,
        .after_assistant = " ",
        .system = CHAT_SYSTEM_REFUSED,
    },
    {
        .name = "mistral-v1",
        .forms = {MISTRAL_PLAIN("first", " [INST] ", " [/INST]", "' '+message.content+eos_token"),
                  MISTRAL_V1},
        .start = BOS,
        .system_close = "\n\n",
        .user_open = " [INST] ",
        .user_close = " [/INST]",
        .assistant_lead = " ",
        .assistant_close = EOS,
        .system = CHAT_SYSTEM_IN_USER,
        .alternate = true,
    },
    {
        .name = "mistral-v3",
        .alias = "mistral-v2v3",
        .forms = {MISTRAL_PLAIN("last", "[INST] ", "[/INST]", "' '+message.content|trim+eos_token"),
                  MISTRAL_TOOLS("[INST] ", "' '+*content|trim")},
        .start = BOS,
        .system_close = "\n\n",
        .user_open = "[INST] ",
        .user_close = "[/INST]",
        .assistant_lead = " ",
        .assistant_close = EOS,
        .system = CHAT_SYSTEM_IN_LAST_USER,
        .trim = CHAT_TRIM_ASSISTANT,
        .alternate = true,
    },
    {
        .name = "mistral-v3-tekken",
        .alias = "mistral-nemo",
        .forms = {MISTRAL_PLAIN("last", "[INST]", "[/INST]", "message.content+eos_token"),
                  MISTRAL_TOOLS("[INST]", "message.content"), MISTRAL_TOOLS("[INST]", "content")},
        .start = BOS,
        .system_close = "\n\n",
        .user_open = "[INST]",
        .user_close = "[/INST]",
        .assistant_close = EOS,
        .system = CHAT_SYSTEM_IN_LAST_USER,
        .alternate = true,
    },
    {
        .name = "alpaca",
        .forms = {ALPACA_LOOP},
        .start = BOS,
        .separator = "\n\n",
        .user_open = "### Instruction:\n",
        .assistant_open = "### Response:\n",
        .assistant_close = EOS,
        .generation = "\n\n### Response:\n",
        .system = CHAT_SYSTEM_FIRST,
    },
    {
        .name = "vicuna",
        .forms = {VICUNA_LOOP},
        .start = BOS,
        .system_close = "\n\n",
        .user_open = "USER: ",
        .user_close = "\n",
        .assistant_open = "ASSISTANT:",
        .assistant_lead = " ",
        .assistant_close = EOS,
        .after_assistant = "\n",
        .generation = "ASSISTANT:",
        .system = CHAT_SYSTEM_FIRST,
        .trim = CHAT_TRIM_ALL,
        .alternate = true,
    },
};

const struct chat_template *chat_template_row_at(size_t index)
{
    return index < COUNT_OF(rows) ? &rows[index] : NULL;
}
