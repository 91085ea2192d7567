/* chat_template_row.c - the table of chat templates.
 *
 * A new template is a row here and a file of golden renderings (tests/golden/chat_template).
 * Forms are written as jinja_form.h spells them, so "\\n" is the escape of the Jinja text.
 */
#include "common/formats/tokenizer/chat_template_row.h"

#include "common/base/check.h"

#define BOS CHAT_TEMPLATE_BOS
#define EOS CHAT_TEMPLATE_EOS

/* Pieces that several forms share. */
#define FOR               "{%for message in messages%}"
#define LOOP              "{%for message in loop_messages%}"
#define END               "{%endfor%}"
#define ELSE              "{%else%}"
#define ENDIF             "{%endif%}"
#define ROLE(role, print) "if message.role=='" role "'%}{{" print "}}"
#define ALTERNATE                                                                                  \
    "{%if(message.role=='user')!=(loop.index0%2==0)%}{{raise_exception('Conversation roles must "  \
    "alternate user/assistant/user/assistant/...')}}{%endif%}"
#define ASK(text) "{%if add_generation_prompt%}{{'" text "'}}"
#define SYSTEM_SET                                                                                 \
    "{%if messages[0].role=='system'%}{%set loop_messages=messages[1:]%}{%set "                    \
    "system_message=messages[0].content%}{%else%}{%set loop_messages=messages%}{%set "             \
    "system_message=false%}{%endif%}"

#define CHATML_LOOP "{{'<|im_start|>'+message.role+'\\n'+message.content+'<|im_end|>\\n'}}"
#define CHATML_ASK  ASK("<|im_start|>assistant\\n") ENDIF
#define CHATML_DEFAULT(text)                                                                       \
    FOR "{%if loop.first and messages[0].role!='system'%}{{'<|im_start|>system\\n" text            \
        "<|im_end|>\\n'}}{%endif%}" CHATML_LOOP END CHATML_ASK
#define QWEN_SYSTEM "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define SMOL_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
#define CHATML_TURNS                                                                               \
    .system_open = "<|im_start|>system\n", .system_close = "<|im_end|>\n",                         \
    .user_open = "<|im_start|>user\n", .user_close = "<|im_end|>\n",                               \
    .assistant_open = "<|im_start|>assistant\n", .assistant_close = "<|im_end|>",                  \
    .after_assistant = "\n", .generation = "<|im_start|>assistant\n"

#define LLAMA_3_HEAD(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"
#define LLAMA_3_CONTENT                                                                            \
    "{%set content='<|start_header_id|>'+message.role+'<|end_header_id|>\\n\\n'+message.content|"  \
    "trim+'<|eot_id|>'%}{%if loop.index0==0%}{%set "                                               \
    "content=bos_token+content%}{%endif%}{{content}}"
#define LLAMA_3_ASK "'<|start_header_id|>assistant<|end_header_id|>\\n\\n'}}"
#define LLAMA_3_TURNS                                                                              \
    .start = BOS, .system_close = "<|eot_id|>", .user_open = LLAMA_3_HEAD("user"),                 \
    .user_close = "<|eot_id|>", .assistant_open = LLAMA_3_HEAD("assistant"),                       \
    .assistant_close = "<|eot_id|>", .generation = LLAMA_3_HEAD("assistant"),                      \
    .trim = CHAT_TRIM_ALL

#define PHI_3_TURNS                                                                                \
    .system_open = "<|system|>\n", .system_close = "<|end|>\n", .user_open = "<|user|>\n",         \
    .assistant_close = "<|end|>", .after_assistant = "\n"
#define PHI_3_LOOP(wants_content)                                                                  \
    FOR "{%if message.role=='system'" wants_content "%}{{'<|system|>\\n'+message.content+"         \
        "'<|end|>\\n'}}{%el" ROLE(                                                                 \
            "user", "'<|user|>\\n'+message.content+'<|end|>\\n'") "{%el" ROLE("assistant",         \
                                                                              "'<|assistant|>\\n'" \
                                                                              "+message.content+'" \
                                                                              "<|end|>\\n'")       \
            ENDIF END
#define PHI_3_ASK ASK("<|assistant|>\\n")

#define GEMMA_TURNS                                                                                \
    .start = BOS, .user_open = "<start_of_turn>user\n", .user_close = "<end_of_turn>\n",           \
    .assistant_open = "<start_of_turn>model\n", .assistant_close = "<end_of_turn>",                \
    .after_assistant = "\n", .generation = "<start_of_turn>model\n",                               \
    .trim = CHAT_TRIM_USER | CHAT_TRIM_ASSISTANT, .alternate = true
#define GEMMA_SET_ROLE                                                                             \
    "{%if(message.role=='assistant')%}{%set role='model'%}{%else%}{%set "                          \
    "role=message.role%}{%endif%}"
#define GEMMA_START                                                                                \
    "{{bos_token}}{%if messages[0].role=='system'%}{{raise_exception('System role not "            \
    "supported')}}{%endif%}" FOR ALTERNATE GEMMA_SET_ROLE
#define GEMMA_TURN "{{'<start_of_turn>'+role+'\\n'+message.content|trim+'<end_of_turn>\\n'}}"
#define GEMMA_ASK  ASK("<start_of_turn>model\\n") ENDIF

#define MISTRAL_START "{{bos_token}}" FOR ALTERNATE "{%"
#define MISTRAL_END                                                                                \
    "{%else%}{{raise_exception('Only user and assistant roles are supported!')}}{%endif%}" END
/* Mistral's templates since the summer of 2024; the tools are between. */
#define MISTRAL_TOOLS(user, assistant)                                                             \
    "{%if messages[0].role=='system'%}*{%set user_messages=*{{bos_token}}" LOOP                    \
    "{%if message.role=='user'%}*{%if loop.last and system_message is defined%}{{'" user           \
    "'+system_message+'\\n\\n'+*content+'[/INST]'}}{%else%}{{'" user                               \
    "'+*content+'[/INST]'}}{%endif%}*{%elif message.role=='assistant'%}*{{" assistant              \
    "+eos_token}}*{%endif%}" END

static const struct chat_template rows[] = {
    {
        .name = "chatml",
        .forms = {FOR CHATML_LOOP END CHATML_ASK},
        CHATML_TURNS,
    },
    {
        .name = "qwen-2",
        .forms = {CHATML_DEFAULT("You are a helpful assistant.")},
        CHATML_TURNS,
        .default_system = "You are a helpful assistant.",
    },
    {
        .name = "qwen-2.5",
        .forms =
            {"{%if tools%}*{%else%}{%if messages[0].role=='system'%}{{'<|im_start|>system\\n'"
             "+messages[0].content+'<|im_end|>\\n'}}{%else%}{{'<|im_start|>system\\n" QWEN_SYSTEM
             "<|im_end|>\\n'}}{%endif%}{%endif%}" FOR
             "{%if(message.role=='user')or(message.role=='system'and not loop.first)or("
             "message.role=='assistant'and not message.tool_calls)%}" CHATML_LOOP
             "{%elif message.role=='assistant'%}*" CHATML_ASK},
        CHATML_TURNS,
        .default_system = QWEN_SYSTEM,
    },
    {
        .name = "smollm2",
        .forms = {CHATML_DEFAULT(SMOL_SYSTEM)},
        CHATML_TURNS,
        .default_system = SMOL_SYSTEM,
    },
    {
        .name = "llama-2",
        .forms = {SYSTEM_SET LOOP ALTERNATE
                  "{%if loop.index0==0 and system_message!=false%}{%set content='<<SYS>>\\n'+"
                  "system_message+'\\n<</SYS>>\\n\\n'+message.content%}{%else%}{%set "
                  "content=message.content%}{%endif%}{%" ROLE(
                      "user",
                      "bos_token+'[INST] "
                      "'+content.strip()+' "
                      "[/INST]'") "*{%el" ROLE("assistant", "' '+content.strip()+' '+eos_token")
                      ENDIF END},
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
        /* The first form opens a turn whether it is asked to or not. A conversation that is
         * trained on stays closed here. */
        .name = "llama-3",
        .forms =
            {"{%set loop_messages=messages%}" LOOP LLAMA_3_CONTENT END "{{" LLAMA_3_ASK,
             "{%set loop_messages=messages%}" LOOP LLAMA_3_CONTENT END
             "{%if add_generation_prompt%}{{" LLAMA_3_ASK ENDIF,
             "{%set loop_messages=messages%}" LOOP
             "{%if message.content is string%}{%set message_text=message.content|trim%}*{%set "
             "content='<|start_header_id|>'+message.role+'<|end_header_id|>\\n\\n'+message_text"
             "+'<|eot_id|>'%}{%if loop.index0==0%}{%set content=bos_token+content%}{%endif%}"
             "{{content}}" END "{%if add_generation_prompt%}{{" LLAMA_3_ASK ENDIF},
        LLAMA_3_TURNS,
        .system_open = LLAMA_3_HEAD("system"),
    },
    {
        .name = "llama-3.1",
        .forms = {"{{bos_token}}*{%set date_string='26 Jul 2024'%}*{{'<|start_header_id|>system<|"
                  "end_header_id|>\\n\\n'}}*{{'Cutting Knowledge Date: December 2023\\nToday Date: "
                  "'+date_string+'\\n\\n'}}*{{system_message+'<|eot_id|>'}}*{{'<|start_header_id|>'"
                  "+message.role+'<|end_header_id|>\\n\\n'+message.content|trim+'<|eot_id|>'}}*"
                  "{%if add_generation_prompt%}{{" LLAMA_3_ASK ENDIF},
        LLAMA_3_TURNS,
        .system_open = LLAMA_3_HEAD("system"),
        .preface = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
        .default_system = "",
    },
    {
        .name = "zephyr",
        .forms =
            {FOR "{%" ROLE("user", "'<|user|>\\n'+message.content+eos_token+'\\n'") "{%el" ROLE(
                "system",
                "'<|system|>\\n'+message.content+eos_token+'\\n'") "{%el" ROLE("assistant",
                                                                               "'<|assistant|>\\n'+"
                                                                               "message.content+"
                                                                               "eos_token+'\\n'")
                 ENDIF
             "{%if loop.last and add_generation_prompt%}{{'<|assistant|>\\n'}}{%endif%}" END},
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
        .forms = {PHI_3_LOOP("") PHI_3_ASK "{%else%}{{eos_token}}{%endif%}"},
        PHI_3_TURNS,
        .user_close = "<|end|>\n",
        .assistant_open = "<|assistant|>\n",
        .generation = "<|assistant|>\n",
        .tail = EOS,
    },
    {
        .name = "phi-3.5",
        .forms = {PHI_3_LOOP("and message.content") PHI_3_ASK "{%else%}{{eos_token}}{%endif%}"},
        PHI_3_TURNS,
        .user_close = "<|end|>\n",
        .assistant_open = "<|assistant|>\n",
        .generation = "<|assistant|>\n",
        .tail = EOS,
        .skip_empty_system = true,
    },
    {
        .name = "phi-3-legacy",
        .forms =
            {"{{bos_token}}" FOR "{%if(message.role=='system')%}{{'<|system|>\\n'+"
             "message.content+'<|end|>\\n'}}{%elif(message.role=='user')%}{{'<|user|>\\n'+"
             "message.content+'<|end|>\\n<|assistant|>\\n'}}{%el" ROLE(
                 "assistant", "message.content+'<|end|>\\n'") ENDIF END,
             "{{bos_token}}" FOR "{%if(message.role=='system')%}{{'<|system|>\\n'+"
             "message.content+'<|end|>\\n'}}{%elif(message.role=='user')%}{{'<|user|>\\n'+"
             "message.content+'<|end|>\\n<|assistant|>\\n'}}{%elif(message.role=='assistant')%}"
             "{{message.content+'<|end|>\\n'}}{%endif%}" END},
        PHI_3_TURNS,
        .start = BOS,
        .user_close = "<|end|>\n<|assistant|>\n",
    },
    {
        .name = "gemma",
        .alias = "gemma-2",
        .forms = {GEMMA_START GEMMA_TURN END GEMMA_ASK, GEMMA_START
                  "{%if message.content is string%}" GEMMA_TURN "{%else%}*{%endif%}" END GEMMA_ASK},
        GEMMA_TURNS,
        .system = CHAT_SYSTEM_REFUSED,
    },
    {
        .name = "gemma-3",
        .forms = {"{{bos_token}}{%if messages[0].role=='system'%}*{%set first_user_prefix="
                  "messages[0].content+'\\n\\n'%}*" LOOP ALTERNATE GEMMA_SET_ROLE
                  "{{'<start_of_turn>'+role+'\\n'+(first_user_prefix if loop.first else'')}}{%if "
                  "message.content is string%}{{message.content|trim}}*{{'<end_of_turn>\\n'}}" END
                      GEMMA_ASK},
        GEMMA_TURNS,
        .system_close = "\n\n",
        .system = CHAT_SYSTEM_BEFORE_USER,
    },
    {
        .name = "mistral",
        .forms = {MISTRAL_START ROLE("user", "'[INST] '+message.content+' [/INST]'") "{%el" ROLE(
            "assistant", "message.content+eos_token") MISTRAL_END},
        .start = BOS,
        .user_open = "[INST] ",
        .user_close = " [/INST]",
        .assistant_close = EOS,
        .system = CHAT_SYSTEM_REFUSED,
        .alternate = true,
    },
    {
        .name = "mistral-v0.1",
        .forms = {MISTRAL_START ROLE("user", "'[INST] '+message.content+' [/INST]'") "{%el" ROLE(
            "assistant", "message.content+eos_token+' '") MISTRAL_END},
        .start = BOS,
        .user_open = "[INST] ",
        .user_close = " [/INST]",
        .assistant_close = EOS,
        .after_assistant = " ",
        .system = CHAT_SYSTEM_REFUSED,
        .alternate = true,
    },
    {
        .name = "mistral-v1",
        .forms = {"{%if messages[0].role=='system'%}*{{bos_token}}" LOOP
                  "*{%if message.role=='user'%}{%if loop.first and system_message is defined%}"
                  "{{' [INST] '+system_message+'\\n\\n'+*content+' [/INST]'}}{%else%}{{' [INST] '+"
                  "*content+' [/INST]'}}{%endif%}{%elif message.role=='assistant'%}{{' '+*content+"
                  "eos_token}}{%else%}{{raise_exception(*)}}{%endif%}" END},
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
        .forms = {MISTRAL_TOOLS("[INST] ", "' '+*content|trim")},
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
        .forms = {MISTRAL_TOOLS("[INST]", "message.content"), MISTRAL_TOOLS("[INST]", "content")},
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
        .forms = {"{{bos_token}}" FOR
                  "{%if message.role=='system'and loop.first%}{{message.content}}{%el" ROLE(
                      "user",
                      "'### Instruction:\\n'+message.content") "{%el" ROLE("assistant",
                                                                           "'### "
                                                                           "Response:\\n'+message."
                                                                           "content+eos_token")
                      ENDIF "{%if not loop.last%}{{'\\n\\n'}}{%endif%}" END ASK(
                          "\\n\\n### Response:\\n") ENDIF},
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
        .forms =
            {"{%if messages[0].role=='system'%}{%set system_message=messages[0].content|trim+"
             "'\\n\\n'%}{%set messages=messages[1:]%}{%else%}{%set system_message=''%}{%endif%}"
             "{{bos_token+system_message}}" FOR ALTERNATE
             "{%" ROLE("user", "'USER: '+message.content|trim+'\\n'") "{%el" ROLE(
                 "assistant", "'ASSISTANT: '+message.content|trim+eos_token+'\\n'")
                 ENDIF END ASK("ASSISTANT:") ENDIF},
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
