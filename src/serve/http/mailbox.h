// From the engine's thread to an I/O thread: events are dropped into its mailbox, and it is woken once
// however many there are. The engine never waits for more than a short lock.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/service.h"

namespace sluice::serve {

/// Events of one reply's requests, on the I/O thread.
struct Inbox {
  struct Item {
    int request;  // which of the reply's requests
    engine::TextEvent event;
  };
  std::vector<Item> items;
  std::function<void()> wake;
  size_t bytes = 0;      // that the items hold, roughly
  bool blocked = false;  // whoever reads the reply is behind
  size_t max_bytes = 0;  // more while blocked, and overflow() is called, once; 0: no bound
  std::function<void()> overflow;
  bool closed = false;  // its reply takes no more
  bool woken = false;
};

class Mailbox {
 public:
  /// `schedule` makes the I/O thread call drain() soon; safe from any thread, and quick.
  explicit Mailbox(std::function<void()> schedule) : schedule_(std::move(schedule)) {}

  void push(std::shared_ptr<Inbox> inbox, int request, engine::TextEvent event);
  /// On the I/O thread: puts what has come into its inboxes and wakes their replies, each once.
  void drain();
  /// Nothing is scheduled any more, and what comes is dropped: the I/O thread is about to go.
  void close();

 private:
  struct Letter {
    std::shared_ptr<Inbox> inbox;
    Inbox::Item item;
  };
  std::function<void()> schedule_;
  std::mutex mutex_;
  std::vector<Letter> letters_;
  bool scheduled_ = false;
};

/// The sink of one request of a reply.
class MailSink : public engine::EventSink {
 public:
  MailSink(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<Inbox> inbox, int request)
      : mailbox_(std::move(mailbox)), inbox_(std::move(inbox)), request_(request) {}
  void push(engine::TextEvent event) override { mailbox_->push(inbox_, request_, std::move(event)); }

 private:
  std::shared_ptr<Mailbox> mailbox_;
  std::shared_ptr<Inbox> inbox_;
  int request_;
};

}  // namespace sluice::serve
