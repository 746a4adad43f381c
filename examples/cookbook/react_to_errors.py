"""Tell kinds of errors apart.

Few programs need a code's number: the class says what kind it is, and `advice` what to do.
"""

import asyncio

from zego_aigc import ApiError, Client, InvalidRequest, NotFound, OutcomeUnknown, TransportError
from zego_aigc.aiagent import SendAgentInstanceTTS


async def main() -> None:
    async with Client.from_env() as client:
        try:
            await client.call(SendAgentInstanceTTS(agent_instance_id="1", text="Hello!"))
        except InvalidRequest as error:
            print("not sent:", [str(problem) for problem in error.problems])
        except NotFound as error:
            print("the conversation has ended:", error.code, error.name)
        except ApiError as error:
            print("refused:", error.advice, "quote", error.request_id, "to support")
        except OutcomeUnknown as error:
            print("it may have been said:", error.__cause__)
        except TransportError as error:
            print("no answer:", error)


asyncio.run(main())
