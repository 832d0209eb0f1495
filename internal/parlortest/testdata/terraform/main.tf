# Applied by TestTerraform; with phase = "after" it is changed, and the room's review
# handler is detached.

terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "url" { type = string }

variable "phase" {
  type    = string
  default = "before"
}

locals {
  after = var.phase == "after"
}

provider "aws" {
  region                      = "us-west-2"
  access_key                  = "123456789012"
  secret_key                  = "secret"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  skip_requesting_account_id  = true

  endpoints {
    ivschat = var.url
  }
}

resource "aws_ivschat_logging_configuration" "s3" {
  name = local.after ? "logs-after" : "logs"

  destination_configuration {
    s3 {
      bucket_name = "chat-logs"
    }
  }
  tags = { team = "live" }
}

resource "aws_ivschat_logging_configuration" "cloudwatch" {
  destination_configuration {
    cloudwatch_logs {
      log_group_name = "/chat"
    }
  }
}

resource "aws_ivschat_room" "lobby" {
  name                            = local.after ? "lobby-after" : "lobby"
  maximum_message_length          = local.after ? 300 : 200
  maximum_message_rate_per_second = local.after ? 10 : 7
  logging_configuration_identifiers = local.after ? [aws_ivschat_logging_configuration.cloudwatch.arn] : [
    aws_ivschat_logging_configuration.s3.arn, aws_ivschat_logging_configuration.cloudwatch.arn,
  ]

  # The provider detaches a handler by an empty uri, as the API does; a block that is left
  # out it does not send.
  message_review_handler {
    uri             = local.after ? "" : "arn:aws:lambda:us-west-2:123456789012:function:review"
    fallback_result = "DENY"
  }

  tags = local.after ? { team = "live ✓", added = "yes" } : { team = "live", gone = "soon" }
}

resource "aws_ivschat_room" "plain" {}

output "room" { value = aws_ivschat_room.lobby.arn }
output "logs" { value = aws_ivschat_logging_configuration.cloudwatch.arn }
