"""Send a message to a channel, with the values of its Secret."""

from collections.abc import Mapping
from typing import assert_never

from refresh_api.channels import Alertmanager, Channel, EmailTo, GoogleChat, PagerDuty, Slack, Teams, Webhook
from refresh_notify import alertmanager, google_chat, pager_duty, slack, teams, webhook
from refresh_notify.mail import send_mail, smtp_values
from refresh_notify.message import Message
from refresh_notify.posting import Rules, authorization_of, post, secret_value


def send(channel: Channel, secret: Mapping[str, str], message: Message, rules: Rules) -> None:
    """Send a message to a channel, with the values of its Secret (empty if there is no such Secret); ChannelError if it is not accepted."""
    name = channel.secret.name
    match channel:
        case Slack():
            url = secret_value(name, secret, channel.webhook_secret_ref.key)
            post("Slack", url, slack.body(channel.channel, message), rules)
        case EmailTo():
            send_mail(channel.to, smtp_values(name, secret), message, rules)
        case Teams():
            url = secret_value(name, secret, channel.webhook_secret_ref.key)
            post("Teams", url, teams.body(message), rules)
        case GoogleChat():
            url = secret_value(name, secret, channel.webhook_secret_ref.key)
            post("Google Chat", url, google_chat.body(message), rules)
        case PagerDuty():
            key = secret_value(name, secret, channel.routing_key_secret_ref.key)
            run = message.run
            # a test opens an incident, and resolves it
            for resolves in (False, True) if run.is_test else (run.resolves,):
                post("PagerDuty", channel.url, pager_duty.body(key, channel.severity, message, resolves=resolves), rules)
        case Alertmanager():
            url = alertmanager.alerts_url(secret_value(name, secret, "url"))
            content = alertmanager.body(channel.labels, message)
            post("Alertmanager", url, content, rules, authorization_of(name, secret))
        case Webhook():
            url = secret_value(name, secret, "url")
            request = webhook.request(channel, name, secret, message)
            post("the webhook", url, request.content, rules, {**request.headers, **authorization_of(name, secret)})
        case _:
            assert_never(channel)
