// The visitor's side: one conversation at a time, shown as its callbacks come.
const $ = (id) => document.getElementById(id)
let conversation = null
let greeting = ""
let events = null
let seen = new Set()
let asked = new Map() // when the user of each round had finished

const STATUS = {
  idle: "Not connected",
  connecting: "Connecting",
  ready: "Ready",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
}

function show(status) {
  document.body.dataset.status = status
  $("status").textContent = STATUS[status] ?? status
  const live = status !== "idle"
  $("start").hidden = live
  $("say").hidden = !live
  $("text").disabled = $("send").disabled = !live || status === "connecting"
}

function fail(text) {
  $("problem").textContent = text
  $("problem").hidden = !text
}

function line(kind, round, text) {
  $("empty").hidden = true
  const id = `${kind}-${round}`
  let item = kind === "note" ? null : $(id)
  if (!item) {
    item = document.createElement("li")
    item.className = kind
    if (kind !== "note") item.id = id
    $("transcript").append(item)
  }
  // Text only: what people and models say is never taken for HTML.
  item.textContent = item.textContent ? `${item.textContent} ${text}` : text
  item.scrollIntoView({ block: "end" })
  return item
}

const handlers = {
  AgentInstanceCreated: () => {
    show("ready")
    line("agent", "greeting", greeting) // a text that is spoken by a call comes back in no callback
    $("text").focus()
  },
  ASRResult: ({ Data }) => {
    asked.set(Data.Round, performance.now())
    line("user", Data.Round, Data.Text)
  },
  LLMResult: ({ Data }) => line("agent", Data.Round, Data.Text),
  AgentInstanceStatus: ({ Data }) => {
    show(Data.Status === "IDLE" ? "ready" : Data.Status.toLowerCase())
    if (Data.Status === "SPEAKING" && asked.has(Data.Round)) {
      $("latency").textContent = `${Math.round(performance.now() - asked.get(Data.Round))} ms`
      asked.delete(Data.Round)
    }
  },
  Interrupted: ({ Data }) => $(`agent-${Data.Round}`)?.classList.add("cut"),
  Exception: ({ Data }) => fail(`The agent has a problem (${Data.Code}).`),
  AgentInstanceDeleted: ({ Data }) => {
    const total = Data.LatencyData?.TotalCost
    line("note", "", total ? `The conversation has ended. Answers came after ${Math.round(total)} ms on average.` : "The conversation has ended.")
    over()
  },
}

function over() {
  events?.close()
  events = null
  conversation = null
  show("idle")
}

function follow(id) {
  events = new EventSource(`/conversations/${id}/events`)
  for (const [name, handle] of Object.entries(handlers)) {
    events.addEventListener(name, (message) => {
      const event = JSON.parse(message.data)
      // A source that connects again reads from the beginning, and a callback may come twice.
      const key = `${event.Event} ${event.Sequence ?? message.data}`
      if (seen.has(key)) return
      seen.add(key)
      handle(event)
    })
  }
  events.addEventListener("end", over)
  events.addEventListener("error", () => {
    if (events?.readyState !== EventSource.CLOSED) return // it connects again by itself
    fail("The connection was lost.")
    over()
  })
}

async function ask(method, path, body) {
  const options = { method, headers: {} }
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json"
    options.body = JSON.stringify(body)
  }
  const response = await fetch(path, options)
  const answer = response.status === 204 ? {} : await response.json().catch(() => ({}))
  if (!response.ok) throw new Error(typeof answer.detail === "string" ? answer.detail : `That did not work (${response.status}).`)
  return answer
}

async function attempt(work) {
  fail("")
  try {
    await work()
  } catch (error) {
    fail(error.message)
    return false
  }
  return true
}

$("start").addEventListener("click", async () => {
  $("start").disabled = true
  await attempt(async () => {
    const begun = await ask("POST", "/conversations")
    conversation = begun.id
    greeting = begun.greeting
    seen = new Set()
    asked = new Map()
    $("transcript").replaceChildren()
    $("latency").textContent = "–"
    show("connecting")
    follow(conversation)
    // Here a page with sound and picture logs in to begun.room_id as begun.user_id with begun.token, by the vendor's Web SDK.
  })
  $("start").disabled = false
})

$("hang-up").addEventListener("click", async () => {
  $("hang-up").disabled = $("start").disabled = true // the next conversation may begin once this one is known to have ended
  await attempt(() => ask("DELETE", `/conversations/${conversation}`))
  $("hang-up").disabled = $("start").disabled = false
})

$("say").addEventListener("submit", async (submitted) => {
  submitted.preventDefault()
  const text = $("text").value.trim()
  if (!text || conversation === null) return
  $("text").value = ""
  if (!(await attempt(() => ask("POST", `/conversations/${conversation}/messages`, { text })))) $("text").value = text
})

window.addEventListener("pagehide", () => {
  // A visitor who closes the page has hung up; if this is lost, the service ends the conversation by itself.
  if (conversation !== null) fetch(`/conversations/${conversation}`, { method: "DELETE", keepalive: true })
})
