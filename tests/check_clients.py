"""OpenAI's and Anthropic's own clients against koine serve: chat, streams, tools, structure, errors, cancelling.
check_clients.py URL, of a server of models/austen. Needs the packages openai and anthropic."""
import json
import sys

import anthropic
import openai

base = sys.argv[1].rstrip("/")
client = openai.OpenAI(base_url=base + "/v1", api_key="none", max_retries=0)
claude = anthropic.Anthropic(base_url=base, api_key="none", max_retries=0)
ask = [{"role": "user", "content": "How is your sister?"}]
schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}}, "required": ["city", "days"]}
tools = [{"type": "function", "function": {"name": "weather", "description": "How it will be", "parameters": schema}}]
off = {"reasoning_effort": "none"}


def check_weather(arguments):
    assert set(arguments) == {"city", "days"} and isinstance(arguments["city"], str) and 1 <= arguments["days"] <= 7, arguments


def chat():
    whole = client.chat.completions.create(model="austen", messages=ask, max_tokens=12, seed=3, logprobs=True, top_logprobs=2, **off)
    assert whole.choices[0].finish_reason == "length" and len(whole.choices[0].logprobs.content) == 12
    text = ""
    for chunk in client.chat.completions.create(model="austen", messages=ask, max_tokens=12, seed=3, stream=True, stream_options={"include_usage": True}, **off):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = chunk.usage
    assert text == whole.choices[0].message.content and usage.completion_tokens == 12
    assert client.models.list().data[0].id == "austen"
    thinking = client.chat.completions.create(model="austen", messages=ask, max_tokens=6, seed=3, reasoning_effort="high")
    assert thinking.choices[0].message.reasoning_content and thinking.usage.completion_tokens_details.reasoning_tokens == 6
    old = client.completions.create(model="austen", prompt="It is a truth", max_tokens=5, n=2, seed=1)
    assert len(old.choices) == 2


def chat_tools():
    choice = {"type": "function", "function": {"name": "weather"}}
    made = client.chat.completions.create(model="austen", messages=ask, tools=tools, tool_choice=choice, parallel_tool_calls=False, max_tokens=300, seed=4, **off)
    call = made.choices[0].message.tool_calls[0]
    check_weather(json.loads(call.function.arguments))
    history = ask + [made.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "fair"}]
    after = client.chat.completions.create(model="austen", messages=history, tools=tools, max_tokens=4, **off)
    assert after.usage.prompt_tokens_details.cached_tokens >= made.usage.total_tokens - 1
    arguments = ""
    for chunk in client.chat.completions.create(model="austen", messages=ask, tools=tools, tool_choice=choice, parallel_tool_calls=False, max_tokens=300, seed=4, stream=True, **off):
        for part in chunk.choices[0].delta.tool_calls or []:
            arguments += part.function.arguments or ""
    assert arguments == call.function.arguments
    form = {"type": "json_schema", "json_schema": {"name": "w", "schema": schema}}
    check_weather(json.loads(client.chat.completions.create(model="austen", messages=ask, response_format=form, max_tokens=200, seed=1, **off).choices[0].message.content))


def responses():
    made = client.responses.create(model="austen", input="How is your sister?", max_output_tokens=9, reasoning={"effort": "none"})
    assert made.status == "incomplete" and made.output_text
    seen = [event.type for event in client.responses.create(model="austen", input="How?", max_output_tokens=5, reasoning={"effort": "none"}, stream=True)]
    assert seen[0] == "response.created" and seen[-1] == "response.completed", seen
    tool = {"type": "function", "name": "weather", "parameters": schema}
    made = client.responses.create(model="austen", input="How?", tools=[tool], tool_choice="required", parallel_tool_calls=False, max_output_tokens=300, reasoning={"effort": "none"})
    check_weather(json.loads(made.output[0].arguments))


def messages():
    made = claude.messages.create(model="claude-sonnet", max_tokens=9, messages=ask)
    assert made.stop_reason == "max_tokens" and made.content[0].text
    with claude.messages.stream(model="claude-sonnet", max_tokens=9, messages=ask, thinking={"type": "enabled", "budget_tokens": 1024}) as stream:
        final = stream.get_final_message()
    assert final.content[0].type == "thinking" and final.content[0].signature
    tool = {"name": "weather", "input_schema": schema}
    with claude.messages.stream(model="claude-sonnet", max_tokens=300, messages=ask, tools=[tool], tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True}) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    check_weather(final.content[0].input)
    assert claude.messages.count_tokens(model="claude-sonnet", messages=ask).input_tokens > 4


def errors():
    for error, body in ((openai.BadRequestError, {"temperature": 9}), (openai.BadRequestError, {"max_tokens": 0}), (openai.NotFoundError, {"model": "gpt"})):
        try:
            client.chat.completions.create(**{"model": "austen", "messages": ask, **body})
        except error as e:
            assert e.body["message"], e
        else:
            raise AssertionError(body)
    try:
        claude.messages.create(model="gpt", max_tokens=4, messages=ask)
    except anthropic.NotFoundError as e:
        assert e.body["error"]["type"] == "not_found_error"
    else:
        raise AssertionError("an unknown model")


def cancel():
    stream = client.chat.completions.create(model="austen", messages=ask, max_tokens=3000, stream=True, **off)
    next(iter(stream))
    stream.close()


for case in (chat, chat_tools, responses, messages, errors, cancel):
    case()
    print("passed", case.__name__)
