"""Make a login token for one user and one room.

Your backend hands it to the browser, whose SDK logs in with it. The ServerSecret stays where it is.
"""

import os

from zego_aigc.aiagent import RTC
from zego_aigc.tokens import room_payload, token04

rtc = RTC.for_user("visitor")
token = token04(
    int(os.environ["ZEGO_APP_ID"]),
    "visitor",
    os.environ["ZEGO_SERVER_SECRET"],
    ttl=600,  # seconds
    payload=room_payload(rtc.room_id, publish=True),
)
print({"room": rtc.room_id, "publish": rtc.user_stream_id, "token": token})
