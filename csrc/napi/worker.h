// One native thread that runs jobs in order, and the way back to JavaScript. It keeps the process alive only while a job is in flight, and ends cleanly
// when its environment does (process exit, worker termination): the running job is awaited, waiting ones are dropped.
//
// Not the libuv pool: a step would starve behind other work there. All public functions are called on the JavaScript thread unless they say otherwise.
#pragma once
#include <napi.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace m2::napi {

class Worker {
 public:
  explicit Worker(Napi::Env);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Runs `work` on the thread. What it returns settles the promise, called on the JavaScript thread; what it throws rejects it.
  using Result = std::function<Napi::Value(Napi::Env)>;
  Napi::Promise run(Napi::Env, std::function<Result()> work);

  // Calls `report` on the JavaScript thread, later. From the worker's thread, inside a job.
  void report(std::function<void(Napi::Env)> report);

  void stop();

 private:
  struct Job;
  struct Message {
    std::function<void(Napi::Env)> deliver;
    bool ends_job;
  };
  static void on_message(Napi::Env, Napi::Function, Worker*, Message*);
  using Channel = Napi::TypedThreadSafeFunction<Worker, Message, on_message>;

  void loop();
  void send(std::unique_ptr<Message>);

  Napi::Env env_;
  Channel channel_;
  size_t in_flight_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> waiting_;
  std::vector<std::unique_ptr<Message>> undelivered_;  // freed on the JavaScript thread, where their references belong
  bool stopping_ = false, stopped_ = false;
  std::thread thread_;
};

}  // namespace m2::napi
