"""Draw the pictures of how things work: ``python docs/generate_drawings.py`` writes them to ``docs/images``.

Each is a function that places boxes and arrows. Sequences of calls stand in the pages in Mermaid's notation, and are
drawn when the site is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from drawing import Drawing, sequence

HERE = Path(__file__).parent / "images"


def concepts() -> Drawing:
    """What the services' words mean, and which id belongs to what."""
    drawing = Drawing(
        660, 470, "An agent, a digital human and a timbre are made once; instances and stream tasks of them live in RTC rooms"
    )
    drawing.box(10, 10, 200, 78, ["Agent", "model, voice, hearing", "AgentId · does not bill"], "good")
    drawing.box(230, 10, 200, 78, ["Digital human", "a face of the catalogue", "DigitalHumanId"], "good")
    drawing.box(450, 10, 200, 78, ["Timbre", "a voice of the catalogue", "TimbreId"], "good")
    drawing.frame(10, 205, 310, 255, "RTC room: RoomId")
    drawing.box(35, 240, 260, 72, ["Agent instance", "AgentInstanceId · bills", "in the room as AgentUserId"])
    drawing.box(35, 385, 260, 56, ["User", "UserId, in your app"], "plain")
    drawing.arrow((110, 88), (110, 240), text="CreateAgentInstance", at=(110, 150))
    drawing.arrow((270, 88), (250, 240), text="its face, or none", at=(262, 140))
    drawing.arrow((110, 312), (110, 385), text="AgentStreamId", at=(62, 353))
    drawing.arrow((220, 385), (220, 312), text="UserStreamId", at=(266, 353))
    drawing.frame(340, 205, 310, 255, "RTC room: RoomId")
    drawing.box(365, 240, 260, 72, ["Stream task", "TaskId · bills", "says only what it is sent"])
    drawing.box(365, 385, 260, 56, ["Viewers", "in your app"], "plain")
    drawing.box(450, 132, 200, 54, ["Drive", "text, audio, RTC stream, PCM"], "plain")
    drawing.arrow((390, 88), (400, 240), text="its face", at=(395, 165))
    drawing.arrow((550, 88), (550, 132), text="for text", at=(580, 114))
    drawing.arrow((550, 186), (550, 240))
    drawing.arrow((495, 312), (495, 385), text="StreamId", at=(530, 353))
    return drawing


def token() -> Drawing:
    """The life of one of the limiter's tokens."""
    drawing = Drawing(
        660, 190, "A token is free, then held by a call, then out until a window after its request left, then free again"
    )
    drawing.box(10, 60, 150, 60, ["free", "10 for each Action"], "good")
    drawing.box(255, 60, 150, 60, ["held", "by a call"])
    drawing.box(500, 60, 150, 60, ["out", "with its request"], "bad")
    drawing.arrow((160, 80), (255, 80), text="acquire()")
    drawing.arrow((405, 80), (500, 80), text="departed()")
    drawing.arrow((255, 102), (160, 102), text="release(), nothing was sent", at=(208, 140), dashed=True)
    drawing.arrow(
        (575, 60),
        (575, 25),
        (85, 25),
        (85, 60),
        text="one window after it left, and a guard for delays on the way",
        at=(330, 18),
    )
    drawing.text(
        330,
        175,
        "A textbook bucket gives tokens back while time passes: 19 requests fit into one second, and nine are refused.",
        kind="small faint",
    )
    return drawing


def lost_answer() -> Drawing:
    """What follows from an answer that did not come."""
    drawing = Drawing(
        720, 400, "Which Actions are sent again after a lost answer, which are looked up, and which raise OutcomeUnknown"
    )
    drawing.box(250, 10, 220, 48, ["No clear answer"], "plain")
    drawing.box(250, 100, 220, 48, ["Can the request have left?"])
    drawing.arrow((360, 58), (360, 100))
    drawing.box(10, 100, 150, 48, ["Send again"], "good")
    drawing.arrow((250, 124), (160, 124), text="no")
    drawing.arrow((360, 148), (360, 176), text="yes: what does the Action do?", at=(458, 166))
    columns = [
        (85, ["READS", "OVERWRITES"], ["Send again"], "good"),
        (245, ["ENDS"], ["Send again", "“not found” is done"], "good"),
        (430, ["CREATES"], ["Look it up"], "box"),
        (630, ["ONCE"], ["OutcomeUnknown", "you decide"], "bad"),
    ]
    drawing.parts.append('<path class="line" d="M85 176H630"/>')
    for x, names, then, kind in columns:
        drawing.arrow((x, 176), (x, 200))
        drawing.box(x - 72, 200, 144, 46, names if len(names) == 1 else [f"{names[0]},", names[1]], "plain")
        drawing.arrow((x, 246), (x, 276))
        drawing.box(x - 72, 276, 144, 48, then, kind)
    drawing.arrow((400, 324), (320, 352), text="found", at=(336, 336))
    drawing.arrow((430, 324), (430, 352), text="absent", at=(454, 342))
    drawing.arrow((460, 324), (560, 352), text="no look-up", at=(560, 338))
    drawing.box(230, 352, 130, 40, ["Its result"], "good")
    drawing.box(375, 352, 120, 40, ["Send again"], "good")
    drawing.box(510, 352, 150, 40, ["OutcomeUnknown"], "bad")
    return drawing


def journal() -> Drawing:
    """What a killed run leaves, at each moment."""
    drawing = Drawing(
        720, 230, "The order of journal and network for one entry, and what the next run does after a kill at each moment"
    )
    steps = [
        (60, "wait for", "the limiter"),
        (210, "attempt", "durable"),
        (360, "first byte", "leaves"),
        (510, "answer", "comes"),
        (660, "outcome", "durable"),
    ]
    drawing.parts.append('<path class="line" d="M10 60H712" marker-end="url(#tip)"/>')
    for x, first, second in steps:
        drawing.parts.append(f'<circle class="{"good" if second == "durable" else "plain"}" cx="{x}" cy="60" r="9"/>')
        drawing.text(x, 28, first, kind="small head")
        drawing.text(x, 44, second)
    for left, right, lines, kind in (
        (10, 204, ["killed here", "never sent:", "the next run sends it"], "good"),
        (216, 654, ["killed here", "sent: the next run looks it up, waits it out,", "or lists it as unknown"], "bad"),
        (666, 712, [], "good"),
    ):
        drawing.box(left, 95, right - left, 84, lines, kind)
    drawing.text(689, 130, "done:", kind="small head")
    drawing.text(689, 148, "kept")
    drawing.text(
        360, 208, "Attempts and outcomes of one turn of the event loop are one commit: one fsync for many.", kind="small faint"
    )
    return drawing


def registry() -> Drawing:
    """How what a dead process had is ended."""
    return sequence(
        "Process A notes a create and its id, and is killed; process B finds its lease over, takes the record and deletes",
        [["Process A"], ["Registry"], ["Service"], ["Process B"]],
        [
            (0, 1, "a create is about to leave"),
            (0, 2, "CreateAgentInstance"),
            (2, 0, "< AgentInstanceId"),
            (0, 1, "its id"),
            (0, 1, "three times a lease: I live"),
            (0, 0, "! killed"),
            (3, 1, "whose lease has passed?"),
            (1, 3, "< A: take its record"),
            (3, 2, "DeleteAgentInstance"),
            (3, 1, "ended"),
        ],
        column=165,
    )


def entry() -> Drawing:
    """The states of a fleet's entry in its journal."""
    drawing = Drawing(
        720, 250, "sent leads to done, made, unknown or failed; made to done; unknown to done or sent; done to removed"
    )
    drawing.box(40, 95, 110, 40, ["sent"])
    drawing.box(330, 15, 110, 40, ["made"])
    drawing.box(330, 95, 110, 40, ["unknown"], "bad")
    drawing.box(330, 190, 110, 40, ["failed"], "bad")
    drawing.box(580, 95, 110, 40, ["done"], "good")
    drawing.box(580, 190, 110, 40, ["removed"], "plain")
    drawing.arrow((5, 115), (40, 115))
    drawing.arrow((150, 100), (330, 40), text="it does not stream yet")
    drawing.arrow((150, 110), (330, 110), text="no clear answer", at=(250, 104))
    drawing.arrow((330, 126), (150, 126), text="absent", at=(250, 142), dashed=True)
    drawing.arrow((130, 135), (330, 203), text="refused", at=(255, 172))
    drawing.arrow((330, 217), (80, 217), (80, 135), text="the next run", at=(190, 233), dashed=True)
    drawing.arrow((440, 40), (600, 95), text="it streams", at=(545, 62))
    drawing.arrow((440, 115), (580, 115), text="found")
    drawing.arrow((95, 95), (95, 3), (640, 3), (640, 95))
    drawing.text(200, 16, "a clear answer", "middle", "small halo")
    drawing.arrow((635, 135), (635, 190), text="teardown", at=(668, 167))
    drawing.arrow((580, 222), (500, 222), (500, 243), (55, 243), (55, 135), dashed=True)
    return drawing


def states() -> Drawing:
    """The states of an agent instance and of a stream task."""
    drawing = Drawing(
        720, 330, "An instance is idle, listening, thinking and speaking in turn; a stream task initializes, streams and stops"
    )
    drawing.frame(5, 5, 710, 200, "agent instance")
    drawing.box(40, 85, 120, 40, ["IDLE"], "plain")
    drawing.box(220, 85, 120, 40, ["LISTENING"])
    drawing.box(400, 85, 120, 40, ["THINKING"])
    drawing.box(575, 85, 120, 40, ["SPEAKING"], "good")
    drawing.arrow((100, 45), (100, 85), text="created, and in the room", at=(180, 60))
    drawing.arrow((160, 105), (220, 105))
    drawing.text(190, 80, "the user speaks", "middle", "small halo")
    drawing.arrow((340, 105), (400, 105))
    drawing.text(370, 80, "and has finished", "middle", "small halo")
    drawing.arrow((520, 105), (575, 105))
    drawing.text(548, 80, "first sentence", "middle", "small halo")
    drawing.arrow((615, 125), (615, 150), (290, 150), (290, 125), text="the user cuts in", at=(450, 144))
    drawing.arrow((655, 125), (655, 180), (100, 180), (100, 125), text="said, or interrupted", at=(380, 174))
    drawing.arrow((60, 125), (60, 198), text="deleted, or no user", at=(72, 160))
    drawing.frame(5, 215, 710, 110, "stream task")
    drawing.box(40, 250, 130, 40, ["INITIALIZING"], "plain")
    drawing.box(240, 250, 130, 40, ["STREAMING"], "good")
    drawing.box(430, 250, 120, 40, ["STOPPING"])
    drawing.box(590, 250, 110, 40, ["STOPPED"], "plain")
    drawing.arrow((170, 270), (240, 270))
    drawing.arrow((370, 270), (430, 270))
    drawing.arrow((550, 270), (590, 270))
    drawing.text(405, 315, "stopped, or its TTL or MaxIdleTime is over", "middle")
    drawing.arrow((105, 290), (105, 311), (150, 311))
    drawing.text(156, 315, "INIT_FAILED", "start", "small head")
    return drawing


def drawings() -> Iterator[tuple[str, Drawing]]:
    """Names and drawings."""
    for draw in (concepts, token, lost_answer, journal, registry, entry, states):
        yield f"{draw.__name__.replace('_', '-')}.svg", draw()


if __name__ == "__main__":
    for name, drawing in drawings():
        (HERE / name).write_text(drawing.svg(), encoding="utf-8")
