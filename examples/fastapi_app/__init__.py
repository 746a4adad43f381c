"""A web app in which visitors talk to an agent, with everything around it that a product needs: one example to copy.

It starts against the sandbox, with no account and no network, by one command, in a clone::

    pip install '.[cli,examples]'                                             # once
    python -m examples.fastapi_app                                            # then open http://127.0.0.1:8080
    python -m examples.fastapi_app --workers 4 --redis redis://127.0.0.1:6379/0

and against the vendor with five variables::

    ZEGO_APP_ID=... ZEGO_SERVER_SECRET=... ZEGO_CALLBACK_SECRET=... PUBLIC_URL=https://your.host LLM_API_KEY=... \\
        python -m examples.fastapi_app

Register ``https://your.host/callbacks`` with the vendor. LLM_API_KEY is a text of your choice: the service sends it to
``/model``.

Read ``app.py`` first, then ``routes.py``; ``event_log.py`` is what several workers share, ``model.py`` what the agent says,
``page/`` what a visitor sees. Pictures and voices travel over RTC, for which a page uses the vendor's Web SDK with what
``POST /conversations`` returns.
"""
