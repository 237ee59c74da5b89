"""OpenAI's own Python client against two running servers: src/serve/openai_client_test.cpp starts them.

Usage: openai_client_test.py URL QUEUE_URL. URL computes and wants the API key "key"; QUEUE_URL runs one request, lets
one wait and has a model that computes nothing. Every answer must be valid, strictly, under the client's own types.
"""
import asyncio
import json
import re
import sys
import threading
import time
import traceback
import urllib.request
from typing import List, Literal

import openai
import pydantic
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

URL, QUEUE_URL = sys.argv[1:]
# What answers have beyond OpenAI's types.
EXTRAS = {"stop_reason", "root", "parent", "max_model_len", "permission", "store"}
HI = [{"role": "user", "content": "hi"}]

client = openai.OpenAI(base_url=URL, api_key="key", max_retries=0, timeout=60)


class Weather(pydantic.BaseModel):
    city: Literal["Rome", "Bonn"]
    days: int = pydantic.Field(ge=1, le=9)


class Report(pydantic.BaseModel):
    weather: List[Weather] = pydantic.Field(min_length=1, max_length=2)
    sunny: bool


WEATHER = openai.pydantic_function_tool(Weather, name="weather")
FLAT = {"type": "function", **WEATHER["function"]}


def extras(value, where):
    if isinstance(value, pydantic.BaseModel):
        unknown = set(value.model_extra or {}) - EXTRAS
        assert not unknown, f"{where}: {unknown}"
        for name in value.model_fields_set:
            extras(getattr(value, name), f"{where}.{name}")
    elif isinstance(value, list):
        for item in value:
            extras(item, where + "[]")


def valid(answer, kind=None):
    """Holds `answer` to the types that the client only hopes for."""
    kind = kind or type(answer)
    extras(kind.model_validate_json(json.dumps(answer.to_dict()), strict=True), kind.__name__)
    return answer


def text_of(tokens, choice):
    """The token that ends an answer by itself has a log-probability and no text."""
    return "".join(tokens[:-1] if choice.finish_reason == "stop" else tokens)


def models():
    assert [valid(m, Model).id for m in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"


def chat():
    answer = valid(client.chat.completions.create(
        model="tiny", messages=HI, max_tokens=8, n=2, logprobs=True, top_logprobs=2), ChatCompletion)
    assert len(answer.choices) == 2 and answer.usage.completion_tokens <= 16
    assert answer._request_id
    for choice in answer.choices:
        assert text_of([t.token for t in choice.logprobs.content], choice) == choice.message.content


def chat_stream():
    asked = dict(model="tiny", messages=HI, seed=1, extra_body={"structured_outputs": {"regex": "[a-z]{8}"}})
    whole = client.chat.completions.create(**asked).choices[0].message.content
    text = ""
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    for chunk in chunks:
        valid(chunk, ChatCompletionChunk)
        text += "".join(c.delta.content or "" for c in chunk.choices)
    assert text == whole and chunks[-1].usage.completion_tokens == 8
    with client.chat.completions.stream(**asked) as stream:
        assert stream.get_final_completion().choices[0].message.content == whole


def check_weather(arguments):
    Weather.model_validate_json(arguments, strict=True)


def tools():
    asked = dict(model="tiny", messages=HI, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, seed=2)
    answer = valid(client.chat.completions.create(**asked), ChatCompletion).choices[0]
    assert answer.finish_reason == "tool_calls" and answer.message.content is None
    call = answer.message.tool_calls[0]
    check_weather(call.function.arguments)
    parsed = client.chat.completions.parse(**asked).choices[0].message.tool_calls[0]
    assert parsed.function.parsed_arguments == Weather.model_validate_json(call.function.arguments)
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert streamed.message.tool_calls[0].function.arguments == call.function.arguments
    # What the client got goes back as it is.
    messages = HI + [answer.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    valid(client.chat.completions.create(model="tiny", messages=messages, tools=[WEATHER], tool_choice="none",
                                         max_tokens=4), ChatCompletion)


def parse():
    asked = dict(model="tiny", messages=HI, seed=3, response_format=Report)
    assert isinstance(client.chat.completions.parse(**asked).choices[0].message.parsed, Report)
    with client.chat.completions.stream(**asked) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Report)


def completions():
    answer = valid(client.completions.create(model="tiny", prompt=["a", "b"], max_tokens=3, logprobs=1), Completion)
    for choice in answer.choices:
        assert text_of(choice.logprobs.tokens, choice) == choice.text
    answer = valid(client.completions.create(model="tiny", prompt=[[1, 2], [3]], max_tokens=3, echo=True), Completion)
    assert [c.text[:1] for c in answer.choices] == ['"', "$"]
    for chunk in client.completions.create(model="tiny", prompt="a", max_tokens=3, stream=True):
        assert len(chunk.choices[0].text) <= 1  # (its type has no room for a finish_reason that is null)


def responses():
    answer = valid(client.responses.create(model="tiny", input="hi", instructions="be brief", max_output_tokens=8,
                                           include=["message.output_text.logprobs"]), Response)
    assert answer.output_text == answer.output[0].content[0].text
    events = list(client.responses.create(model="tiny", input="hi", max_output_tokens=8, stream=True))
    for event in events:
        valid(event)
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert isinstance(client.responses.parse(model="tiny", input="hi", text_format=Report).output_parsed, Report)
    with client.responses.stream(model="tiny", input="hi", text_format=Report) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Report)


def response_tools():
    asked = dict(model="tiny", tools=[FLAT], parallel_tool_calls=False)
    answer = valid(client.responses.create(**asked, input="hi", tool_choice="required"), Response)
    call = answer.output[0]
    assert call.type == "function_call" and answer.status == "completed"
    check_weather(call.arguments)
    with client.responses.stream(**asked, input="hi", tool_choice="required") as stream:
        check_weather(stream.get_final_response().output[0].arguments)
    items = [{"role": "user", "content": "hi"}, call,
             {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    valid(client.responses.create(**asked, input=items, tool_choice="none", max_output_tokens=4), Response)


def raises(kind, call, **members):
    try:
        call()
    except openai.APIError as e:
        assert type(e) is kind, f"{e!r} is no {kind}"
        for name, value in members.items():
            assert getattr(e, name) == value, f"{name}: {getattr(e, name)!r}, not {value!r}"
        assert e.request_id
        return
    raise AssertionError(f"{kind} was not raised")


def errors():
    chats = client.chat.completions
    stranger = client.with_options(api_key="wrong").chat.completions
    raises(openai.AuthenticationError, lambda: stranger.create(model="tiny", messages=HI), code="invalid_api_key")
    raises(openai.NotFoundError, lambda: chats.create(model="other", messages=HI), code="model_not_found")
    raises(openai.BadRequestError, lambda: chats.create(model="tiny", messages=HI, temperature=-1),
           param="temperature", code="invalid_value")
    raises(openai.BadRequestError, lambda: chats.create(model="tiny", messages=HI, max_tokens=10**6),
           code="context_length_exceeded")
    raises(openai.BadRequestError, lambda: client.responses.create(model="tiny", input="hi", store=True), param="store")
    raises(openai.BadRequestError, lambda: client.embeddings.create(model="tiny", input="hi"), param="model")
    raises(openai.NotFoundError, lambda: client.files.list())


def waiting():
    with urllib.request.urlopen(QUEUE_URL.removesuffix("/v1") + "/metrics") as page:
        return int(re.search(r"^vllm:num_requests_waiting{.*} (\d+)", page.read().decode(), re.M).group(1))


def retries():
    seen, streams = [], []

    def look(response):
        seen.append(response.status_code)
        if response.status_code == 429:
            streams[0].close()  # the second try finds room

    asked = dict(model="tiny", prompt="a")
    hasty = openai.OpenAI(base_url=QUEUE_URL, api_key="any", max_retries=0, timeout=60)
    patient = openai.OpenAI(base_url=QUEUE_URL, api_key="any", max_retries=2, timeout=60,
                            http_client=openai.DefaultHttpxClient(event_hooks={"response": [look]}))
    # One runs, one waits, and nobody else gets in.
    streams.append(hasty.completions.create(**asked, max_tokens=250_000, stream=True))
    second = threading.Thread(target=lambda: hasty.completions.create(**asked, max_tokens=1))
    second.start()
    limit = time.monotonic() + 30
    while waiting() == 0:
        assert time.monotonic() < limit, "the second request does not wait"
        time.sleep(0.01)
    raises(openai.RateLimitError, lambda: hasty.completions.create(**asked, max_tokens=1))
    assert patient.completions.create(**asked, max_tokens=1).usage.completion_tokens == 1
    assert seen == [429, 200], seen
    second.join()


def concurrency():
    async def run():
        many = openai.AsyncOpenAI(base_url=URL, api_key="key")
        answers = await asyncio.gather(*[many.chat.completions.create(model="tiny", messages=HI, max_tokens=16)
                                         for _ in range(32)])
        assert all(a.choices[0].message.content is not None for a in answers)
        await many.close()

    asyncio.run(run())


failures = 0
for scenario in (models, chat, chat_stream, tools, parse, completions, responses, response_tools, errors, retries,
                 concurrency):
    try:
        scenario()
        print(f"{scenario.__name__}: ok")
    except Exception:
        failures += 1
        print(f"{scenario.__name__}: {traceback.format_exc()}", file=sys.stderr)
sys.exit(min(failures, 1))
