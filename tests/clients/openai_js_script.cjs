// A program for openai of npm. Prints JSON.

const OpenAI = require("openai");

const ORDER = "say: one, two, three";
const MESSAGES = [{ role: "user", content: ORDER }];

function answer(text, reason, usage) {
  return { text, finish_reason: reason, usage: usage ? [usage.prompt_tokens, usage.completion_tokens] : null };
}

async function folded(chunks, textOf) {
  let text = "";
  let reason = null;
  let usage = null;
  for await (const chunk of chunks) {
    const choice = chunk.choices[0];
    text += textOf(choice) ?? "";
    reason = choice.finish_reason ?? reason;
    usage = chunk.usage ?? usage;
  }
  return answer(text, reason, usage);
}

async function askBoth(client) {
  const asked = { model: "fake", stop: "two", max_tokens: 50 };
  const completion = await client.completions.create({ prompt: ORDER, ...asked });
  const chat = await client.chat.completions.create({ messages: MESSAGES, ...asked });
  const completionStream = await client.completions.create({ prompt: ORDER, stream: true, ...asked });
  const chatStream = await client.chat.completions.create({ messages: MESSAGES, stream: true, ...asked });
  let error = null;
  try {
    await client.chat.completions.create({ model: "other", messages: MESSAGES });
  } catch (raised) {
    if (!(raised instanceof OpenAI.NotFoundError)) throw raised;
    error = [raised.status, raised.code, raised.param];
  }
  return {
    completion: answer(completion.choices[0].text, completion.choices[0].finish_reason, completion.usage),
    completion_stream: await folded(completionStream, (choice) => choice.text),
    chat: answer(chat.choices[0].message.content, chat.choices[0].finish_reason, chat.usage),
    chat_stream: await folded(chatStream, (choice) => choice.delta.content),
    error,
  };
}

async function main(root) {
  const told = {};
  for (const prefix of ["/v1", "/inference/v1"]) {
    told[prefix] = await askBoth(new OpenAI({ baseURL: root + prefix, apiKey: "none", maxRetries: 0 }));
  }
  console.log(JSON.stringify(told));
}

main(process.argv[2]);
