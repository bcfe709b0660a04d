// What stock JavaScript clients make of a server: node stock.mjs URL MODEL. One line of JSON for each.

import Anthropic from '@anthropic-ai/sdk'
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, stepCountIs, streamText, tool } from 'ai'
import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { z } from 'zod'

const [url, model] = process.argv.slice(2)
const messages = [{ role: 'user', content: 'What is the weather in Oslo?' }]
const parts = [{ role: 'user', content: [{ type: 'text', text: 'What is 3 + 4?' }] }]
const schema = {
  type: 'object',
  properties: { city: { type: 'string', maxLength: 12 } },
  required: ['city'],
  additionalProperties: false,
}
const weather = { name: 'weather', description: 'The weather in a city', parameters: schema, strict: true }
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'unused', maxRetries: 0 })
const anthropic = new Anthropic({ baseURL: url, apiKey: 'unused', maxRetries: 0 })
const vercel = createOpenAICompatible({ name: 'ttrl', baseURL: `${url}/v1`, includeUsage: true })
const claude = createAnthropic({ baseURL: `${url}/v1`, apiKey: 'unused' })
const tools = { weather: tool({
  description: 'The weather in a city',
  inputSchema: z.object({ city: z.string().max(12) }),
  strict: true,
  execute: async () => '7 degrees',
}) }

const cases = {
  async 'openai chat'() {
    const reply = await openai.chat.completions.create({ model, messages: parts, max_tokens: 24 })
    return [typeof reply.choices[0].message.content, reply.ttrl.drawn > 1]
  },
  async 'openai stream'() {
    let text = ''
    let usage
    const stream = await openai.chat.completions.create({
      model, messages: parts, max_tokens: 24, stream: true, stream_options: { include_usage: true },
    })
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      usage = chunk.usage ?? usage
    }
    return [text.length > 0, usage.total_tokens > 0]
  },
  async 'openai tools'() {
    const reply = await openai.chat.completions.create({
      model, messages, max_tokens: 64, tools: [{ type: 'function', function: weather }], tool_choice: 'required',
    })
    return [reply.choices[0].finish_reason, reply.choices[0].message.tool_calls[0].function.name]
  },
  async 'openai parsed'() {
    const format = zodResponseFormat(z.object({ city: z.string().max(12) }), 'place')
    const reply = await openai.chat.completions.parse({ model, messages, max_tokens: 64, response_format: format })
    return [typeof reply.choices[0].message.parsed.city]
  },
  async 'openai models'() {
    return [(await openai.models.retrieve(model)).id]
  },
  async 'vercel text'() {
    const reply = await generateText({ model: vercel(model), prompt: 'What is 3 + 4?', maxOutputTokens: 24 })
    return [reply.text.length > 0, reply.usage.outputTokens > 0]
  },
  async 'vercel tool loop'() {
    const reply = streamText({
      model: vercel(model), prompt: messages[0].content, tools, toolChoice: 'required', maxOutputTokens: 64,
      stopWhen: stepCountIs(2),
    })
    await reply.consumeStream()
    const steps = await reply.steps
    return [steps.length, steps[0].toolCalls[0].toolName, steps[0].toolResults[0].output]
  },
  async 'vercel on messages'() {
    const reply = await generateText({ model: claude(model), prompt: 'What is 3 + 4?', maxOutputTokens: 24 })
    return [reply.text.length > 0]
  },
  async 'anthropic message'() {
    const reply = await anthropic.messages.create({ model, max_tokens: 24, messages: parts })
    return [reply.content[0].type, reply.usage.output_tokens > 0]
  },
  async 'anthropic stream with tools'() {
    const stream = anthropic.messages.stream({
      model, max_tokens: 64, messages, tool_choice: { type: 'any' },
      tools: [{ name: 'weather', description: weather.description, input_schema: schema, strict: true }],
    })
    const reply = await stream.finalMessage()
    return [reply.stop_reason, reply.content.find((block) => block.type === 'tool_use').name]
  },
}

for (const [name, run] of Object.entries(cases)) {
  let result
  try {
    result = await run()
  } catch (error) {
    result = [`${error.name}: ${error.message}`]
  }
  console.log(JSON.stringify({ name, result }))
}
